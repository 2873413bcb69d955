"""An endpoint that does nothing: what the stack itself costs.

``uvicorn benchmarks.serving_peers.no_op:app``
"""

from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict() -> dict[str, bool]:
    """Take no notice of the body."""
    return {"ok": True}


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """It is."""
    return {"ok": True}
