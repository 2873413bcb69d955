// The page of the model: asks for predictions, shows where a value is refused, and keeps to what the service says.

const POLL_MS = 5000;
const SHOWN_TRIES = 5;

const NO_BREAK = "\u00a0";
const percent = (share) => `${(100 * share).toFixed(1)}${NO_BREAK}%`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}${NO_BREAK}ms`;
const clock = (date) => date.toLocaleTimeString();
const slot = (within, name) => within.querySelector(`[data-slot="${name}"]`);
const model = () => document.getElementById("model").dataset;

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// ---- Notices: one line for each thing that is not as usual, said once

const notices = new Map();

function notice(key, text) {
  if ((notices.get(key)?.textContent ?? null) === text) return;
  notices.get(key)?.remove();
  notices.delete(key);
  if (text === null) return;
  const line = element("p", text);
  notices.set(key, line);
  document.getElementById("notices").append(line);
}

// ---- The form

function inputs(form) {
  return [...form.querySelectorAll("[data-kind]")];
}

/** The value of an input as JSON has it: null if it is empty. */
function valueOf(input) {
  if (input.value === "") return null;
  if (input.dataset.kind === "text") return input.value;
  if (input.dataset.kind !== "moment") return Number(input.value);
  const withSeconds = input.value.length === "2013-10-01T05:00".length ? `${input.value}:00` : input.value;
  return input.dataset.zone === "UTC" ? `${withSeconds}Z` : withSeconds;
}

function recordOf(form) {
  return Object.fromEntries(inputs(form).map((input) => [input.name, valueOf(input)]));
}

function errorOf(input) {
  return document.getElementById(`${input.id}-error`);
}

function refuse(input, message) {
  errorOf(input).textContent = message;
  errorOf(input).hidden = false;
  input.setAttribute("aria-invalid", "true");
  const folded = input.closest("details");
  if (folded) folded.open = true;
}

function accept(input) {
  errorOf(input).hidden = true;
  errorOf(input).textContent = "";
  input.removeAttribute("aria-invalid");
}

/** The column that a path such as $.distance, $[0].distance or $["distance"] names. */
function columnOf(path) {
  const found = /^\$(?:\[\d+\])?(?:\.(.+)|\["(.+)"\]|\['(.+)'\])$/.exec(path);
  return found ? (found[1] ?? found[2] ?? found[3]) : null;
}

/** Show each error beside its field; return those that belong to none. */
function showErrors(form, errors) {
  const byName = new Map(inputs(form).map((input) => [input.name, input]));
  const elsewhere = errors.filter((error) => !byName.has(columnOf(error.path)));
  for (const error of errors) {
    const input = byName.get(columnOf(error.path));
    if (input) refuse(input, error.message);
  }
  form.querySelector("[aria-invalid]")?.focus();
  return elsewhere;
}

function unreadable(form) {
  return inputs(form)
    .filter((input) => input.validity.badInput)
    .map((input) => ({ path: `$.${input.name}`, message: "This is not complete, or no number. Clear it or correct it." }));
}

// ---- The answer

function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function curlFor(address, body) {
  return `curl -H 'Content-Type: application/json' \\\n  -d ${quoted(body)} \\\n  ${address}`;
}

function drawBar(bar, probability, threshold, label) {
  bar.classList.toggle("positive", probability >= threshold);
  bar.setAttribute("aria-label", `Probability ${percent(probability)}, threshold ${percent(threshold)}`);
  bar.querySelector(".share").setAttribute("width", `${100 * probability}%`);
  const line = bar.querySelector("line");
  line.setAttribute("x1", `${100 * threshold}%`);
  line.setAttribute("x2", `${100 * threshold}%`);
  const text = bar.querySelector("text");
  const anchor = threshold < 0.3 ? "start" : threshold > 0.7 ? "end" : "middle";
  text.setAttribute("x", `${100 * threshold}%`);
  text.setAttribute("text-anchor", anchor);
  text.textContent = `${label} from ${percent(threshold)} on`;
}

function showAnswer(answer, roundTrip, body) {
  const shown = document.getElementById("answer-template").content.cloneNode(true);
  const positive = model().positive;
  slot(shown, "decision").textContent = answer.decision;
  slot(shown, "decision").classList.toggle("positive", answer.probability >= answer.threshold);
  slot(shown, "probability").textContent = `probability of ${positive}: ${percent(answer.probability)}`;
  drawBar(slot(shown, "bar"), answer.probability, answer.threshold, positive);
  slot(shown, "request-id").textContent = answer.request_id;
  slot(shown, "trace").textContent = `kedro model trace ${answer.request_id}`;
  slot(shown, "model").textContent = `version ${answer.model.version}`;
  slot(shown, "round-trip").textContent = milliseconds(roundTrip);
  slot(shown, "curl").textContent = curlFor(new URL("predict", document.baseURI), body);
  document.getElementById("answer").replaceChildren(shown);
}

function showRefusal(title, detail, errors = []) {
  const list = document.createElement("ul");
  list.append(...errors.map((error) => element("li", `${error.path}: ${error.message}`)));
  const shown = document.createElement("div");
  shown.className = "refusal";
  shown.append(element("p", title, "decision"), element("p", detail), ...(errors.length ? [list] : []));
  document.getElementById("answer").replaceChildren(shown);
}

function showErrorsOf(form, title, detail, errors) {
  const elsewhere = showErrors(form, errors);
  const beside = errors.length - elsewhere.length;
  if (elsewhere.length || !beside) showRefusal(title, detail, elsewhere);
  else if (beside === 1) showRefusal("A value is refused", "The reason stands beside its field.");
  else showRefusal(`${beside} values are refused`, "The reasons stand beside their fields.");
}

async function predict(form) {
  inputs(form).forEach(accept);
  const broken = unreadable(form);
  if (broken.length) {
    showErrorsOf(form, "Not sent", "", broken);
    return;
  }
  const body = JSON.stringify(recordOf(form));
  const started = performance.now();
  const response = await fetch("predict", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const answer = await response.json();
  const roundTrip = performance.now() - started;
  if (!response.ok) {
    showErrorsOf(form, answer.title, answer.detail, answer.errors ?? []);
    return;
  }
  showAnswer(answer, roundTrip, body);
  addTry(answer, roundTrip);
  await refreshLatency();
  if (answer.model.digest !== model().digest) await takeOver();
}

async function submitted(form) {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  try {
    await predict(form);
  } catch (error) {
    showRefusal("No answer", `The service cannot be reached, or does not answer as expected: ${error.message}.`);
  } finally {
    form.ariaBusy = "false";
  }
}

// ---- Latency

const tries = [];

function addTry(answer, roundTrip) {
  tries.unshift({ at: new Date(), answer, roundTrip });
  const section = document.getElementById("tries");
  const rows = tries.slice(0, SHOWN_TRIES).map((made) => {
    const row = document.createElement("tr");
    const cells = [clock(made.at), made.answer.decision, percent(made.answer.probability), milliseconds(made.roundTrip)];
    row.append(...cells.map((cell) => element("td", cell)));
    return row;
  });
  section.querySelector("tbody").replaceChildren(...rows);
  slot(section, "summary").textContent =
    `Median of ${tries.length}: ${milliseconds(median(tries.map((made) => made.roundTrip)))}, there and back.`;
  section.hidden = false;
}

function showLatency(latency) {
  const shown = document.getElementById("service-latency");
  const some = latency.count > 0;
  slot(shown, "p50").textContent = some ? milliseconds(latency.p50_ms) : "–";
  slot(shown, "p99").textContent = some ? milliseconds(latency.p99_ms) : "–";
  slot(shown, "count").textContent = latency.count.toLocaleString("en");
  const span = `in the last ${Math.round(latency.seconds / 60)} minutes`;
  document.getElementById("latency-about").textContent = some
    ? `As the service measures it, ${span}.`
    : `It has answered nothing ${span}.`;
}

// ---- What changes: the model, its state

/** Take the facts of the model that answers now; what was typed stays if it asks for the same columns. */
async function takeOver() {
  const before = model().version;
  const response = await fetch("./", { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok || !fresh.getElementById("model")) return;
  for (const part of document.querySelectorAll("[data-facts]")) {
    const other = fresh.getElementById(part.id);
    if (other) part.replaceWith(other);
  }
  const [form, other] = [document.getElementById("form"), fresh.getElementById("form")];
  if (form.dataset.columns !== other.dataset.columns) {
    form.replaceWith(other);
    document.getElementById("answer").replaceChildren();
  }
  document.title = fresh.title;
  if (model().version !== before) {
    notice("replaced", `Version ${model().version} has replaced version ${before} (${clock(new Date())}). The page shows the new one.`);
  }
}

function showState(state) {
  const registry = state.registry?.error ?? null;
  notice("registry", registry && `The registry does not answer; the model that is loaded goes on answering. ${registry}`);
  const refused = (state.refused ?? []).map((each) => `Version ${each.version} is refused: ${each.reason}`);
  notice("refused", refused.length ? refused.join(" · ") : null);
  notice("ready", state.ready ? null : `Not ready: ${state.reason}`);
}

async function refreshLatency() {
  const response = await fetch("latency");
  if (response.ok) showLatency(await response.json());
}

async function refreshModel() {
  await refreshLatency();
  const said = await (await fetch("ready")).json();
  showState(said);
  if (said.model && said.model.digest !== model().digest) await takeOver();
}

async function refreshWaiting() {
  const state = await (await fetch("ready")).json();
  if (state.ready) {
    location.reload();
    return;
  }
  document.getElementById("reason").textContent = state.reason;
  const refused = document.getElementById("refused");
  const lines = (state.refused ?? []).map((each) => element("li", `Version ${each.version} is refused: ${each.reason}`));
  refused.hidden = !lines.length;
  refused.replaceChildren(...lines);
}

async function refresh() {
  if (document.hidden) return;
  const isWaiting = document.querySelector("main").dataset.page === "waiting";
  try {
    await (isWaiting ? refreshWaiting() : refreshModel());
    if (!isWaiting) notice("unreachable", null);
  } catch {
    const said = "The service cannot be reached. Trying again.";
    if (isWaiting) document.getElementById("reason").textContent = said;
    else notice("unreachable", said);
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  submitted(event.target);
});
document.addEventListener("reset", (event) => {
  inputs(event.target).forEach(accept);
  document.getElementById("answer").replaceChildren();
});
document.addEventListener("input", (event) => {
  if (event.target.dataset.kind) accept(event.target);
});
document.addEventListener("visibilitychange", refresh);

async function keepFresh() {
  await refresh();
  setTimeout(keepFresh, POLL_MS);
}
keepFresh();
