"""Wiring of data engineering: for the flights, and for a table of your own."""

from kedro.pipeline import Node, Pipeline

from . import flights, nodes, table


def _from_requests_to_model_input(*, all_requests: str) -> list[Node]:
    """The part that is the same for every table."""
    return [
        Node(nodes.compute_features, [all_requests, "table_roles"], "feature_table", name="compute_features"),
        Node(
            nodes.assemble_model_input,
            ["feature_table", "labels", "table_roles", "params:split", "params:seed"],
            "model_input",
            name="assemble_model_input",
        ),
        Node(nodes.record_data, ["model_input", "run_record"], "data_record", name="record_data"),
    ]


def _account_for(*raw_tables: str) -> Node:
    inputs = {name: name for name in ("raw_inputs", "quarantine", "model_input", "table_roles", *raw_tables)}
    return Node(nodes.account_for_rows, inputs, "data_report", name="account_for_rows")


def create_pipeline() -> Pipeline:
    """Five raw tables become a table to learn from and the requests to score."""
    return Pipeline(
        [
            Node(
                flights.screen_raw_tables,
                ["flights", "weather", "planes"],
                {
                    "flights": "screened_flights",
                    "weather": "screened_weather",
                    "planes": "screened_planes",
                    "quarantine": "raw_quarantine",
                },
                name="screen_raw_tables",
            ),
            Node(
                flights.schedule_flights,
                ["screened_flights", "airports", "airlines", "params:flights"],
                "scheduled_flights",
                name="schedule_flights",
            ),
            Node(
                flights.look_up_state,
                ["scheduled_flights", "screened_weather", "screened_planes", "params:flights", "params:features"],
                "flight_requests",
                name="look_up_state",
            ),
            Node(
                flights.label_flights,
                ["scheduled_flights", "params:flights"],
                {"labels": "labels", "quarantine": "unlabelled"},
                name="label_flights",
            ),
            Node(flights.describe_roles, "params:features", "table_roles", name="describe_roles"),
            *_from_requests_to_model_input(all_requests="flight_requests"),
            Node(flights.select_requests, ["flight_requests", "model_input"], "requests", name="select_requests"),
            Node(nodes.merge_quarantine, ["raw_quarantine", "unlabelled"], "quarantine", name="merge_quarantine"),
            _account_for("flights", "weather", "planes", "airports", "airlines"),
        ]
    )


def create_table_pipeline() -> Pipeline:
    """A single CSV with a target column becomes a table to learn from and the requests to score."""
    return Pipeline(
        [
            Node(table.recognise_columns, ["table", "params:table"], "table_roles", name="recognise_columns"),
            Node(table.prepare_table, ["table", "table_roles", "params:table"], "prepared_table", name="prepare_table"),
            Node(
                table.label_table,
                ["table", "prepared_table", "table_roles"],
                {"labels": "labels", "quarantine": "quarantine"},
                name="label_table",
            ),
            *_from_requests_to_model_input(all_requests="prepared_table"),
            Node(
                table.select_requests,
                ["prepared_table", "model_input", "table_roles"],
                "requests",
                name="select_requests",
            ),
            _account_for("table"),
        ]
    )
