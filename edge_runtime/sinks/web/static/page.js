// Shows a run. What comes from it is shown as text only, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const WORDS = {
  black: "The picture is black",
  frozen: "The camera repeats one picture",
  stale: "The picture came late",
};
const FEW = 4; // so few classes have a wide line each
const QUIET_S = 2; // a camera without a frame for so long

let about = null;
let chosen = 0; // which camera
let paused = null; // the snapshot that is held still: its picture, its address, its answer
let events = null;
let last = null; // the newest state

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function make(tag, className, value) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (value !== undefined) node.textContent = value;
  return node;
}

function percent(score) {
  return score === null || score === undefined ? "–" : `${(100 * score).toFixed(1)} %`;
}

function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 ? `${value.toFixed(1)} ms` : value < 10000 ? `${Math.round(value)} ms` : seconds(value / 1000);
}

function isQuiet(camera) {
  return camera !== undefined && camera.quiet_s > QUIET_S;
}

function said(camera) {
  if (!camera || camera.kind === undefined) return "–";
  return WORDS[camera.kind] || camera.text;
}

// What stands in large letters, in small ones below, and how.
function answerOf(camera) {
  if (!camera || camera.kind === undefined) return ["–", "\u00a0", ""];
  const answered = camera.kind in WORDS ? said(camera) : `${camera.text}, ${percent(camera.score)}`;
  if (isQuiet(camera)) return ["No picture", `Before that: ${answered}`, "nonews"];
  if (camera.kind in WORDS) return [said(camera), "Not answered: such a frame is no news.", "nonews"];
  if (camera.kind === "unknown")
    return [camera.text, `The best class has ${percent(camera.score)}: too little to rely on.`, "unsure"];
  return [camera.text, percent(camera.score), ""];
}

function drawAnswer(camera) {
  const [large, small, how] = answerOf(camera);
  text(byId("said"), large);
  text(byId("score"), small);
  byId("answer").className = `answer ${how}`;
  // Said aloud when it changes, and not thirty times a second.
  text(byId("spoken"), large);
}

function drawFlag(camera) {
  let flag = "";
  if (paused) flag = `View paused at ${new Date(1000 * paused.told.at).toLocaleTimeString()}`;
  else if (isQuiet(camera)) {
    flag = `No picture for ${seconds(camera.quiet_s)}`;
    if (camera.event) flag += ` (${camera.event})`;
  } else if (camera && camera.kind in WORDS) flag = WORDS[camera.kind];
  text(byId("flag"), flag);
  byId("flag").hidden = !flag;
}

function drawTiles(state, camera) {
  const known = camera && camera.kind !== undefined;
  const quiet = isQuiet(camera);
  text(byId("fps"), !known ? "–" : quiet ? "0" : camera.fps ? camera.fps.toFixed(1) : "–");
  text(byId("age"), !known || quiet ? "–" : milliseconds(camera.age_ms));
  text(byId("infer"), !known || quiet || camera.kind in WORDS ? "–" : milliseconds(camera.infer_ms));
  const hot = state.temperature_c;
  text(byId("temperature"), hot === null ? "not told" : `${hot.toFixed(0)} °C`);
  byId("temperature").className = hot === null ? "words" : "";
  text(byId("throttling"), state.throttling.length ? state.throttling.join(", ") : "none");
  byId("throttling").className = state.throttling.length ? "bad words" : "";
}

function line(points) {
  // Time goes to the right, and gaps are frames without an answer.
  const step = 100 / Math.max(1, points.length - 1);
  let path = "";
  let drawing = false;
  points.forEach((value, i) => {
    if (value === null) {
      drawing = false;
      return;
    }
    path += `${drawing ? "L" : "M"}${(i * step).toFixed(1)} ${(24 - 23 * value).toFixed(1)}`;
    drawing = true;
  });
  return path;
}

const SVG = "http://www.w3.org/2000/svg";

function classRow() {
  const row = make("div", "class");
  row.append(make("span", "name"));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const floor = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 100, y1: 24, y2: 24 })) floor.setAttribute(name, value);
  svg.append(floor, document.createElementNS(SVG, "path"));
  row.append(svg, make("span", "share"));
  return row;
}

function drawClasses(past, camera) {
  const box = byId("classes");
  if (!past.labels.length) {
    box.replaceChildren(make("p", "soft small", "No answers yet."));
    return;
  }
  const wanted = past.labels.length;
  if (box.querySelectorAll(".class").length !== wanted)
    box.replaceChildren(...past.labels.map(classRow));
  box.classList.toggle("few", wanted <= FEW);
  past.labels.forEach(({ label, points }, i) => {
    const row = box.children[i];
    text(row.querySelector(".name"), label);
    row.title = label;
    const newest = points[points.length - 1];
    text(row.querySelector(".share"), newest === null ? "–" : `${Math.round(100 * newest)} %`);
    row.querySelector("path").setAttribute("d", line(points));
    row.classList.toggle("now", camera !== undefined && !isQuiet(camera) && camera.kind === "answer" && camera.text === label);
  });
}

function drawRows(rows) {
  if (!rows.length) return;
  byId("rows").replaceChildren(
    ...rows.map((row) => {
      const tr = make("tr");
      const kind = row.kind in WORDS ? "nonews" : row.kind === "unknown" ? "unsure" : "";
      tr.append(
        make("td", "nowrap", new Date(1000 * row.at).toLocaleTimeString()),
        make("td", kind, WORDS[row.kind] || row.text),
        make("td", "number", percent(row.score)),
        make("td", "number", seconds(row.seconds)),
        make("td", "number aside", String(row.frames)),
      );
      return tr;
    }),
  );
}

function drawFacts(state) {
  const mib = (bytes) => `${Math.round(bytes / 1048576)} MiB`;
  const facts = [
    ["Bundle", about.bundle],
    ["Variant", about.variant],
    ["Engine", about.engine],
    ["Profile", about.profile],
    ["Camera", about.cameras.join(", ")],
  ];
  if (state && state.memory_available_bytes) facts.push(["Free memory", mib(state.memory_available_bytes)]);
  for (const note of about.notes) facts.push(["Note", note]);
  for (const sink of state ? state.sinks : [])
    if (sink.dropped || sink.failed)
      facts.push([`Output ${sink.name}`, `${sink.dropped} results dropped, ${sink.failed} failed`]);
  byId("facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const tr = make("tr");
      const th = make("th", "", name);
      th.scope = "row";
      tr.append(th, make("td", "", value));
      return tr;
    }),
  );
}

function draw(state) {
  last = state;
  const camera = state.cameras[chosen];
  drawTiles(state, camera);
  drawFlag(camera);
  if (paused) return;
  drawAnswer(camera);
  if (state.past) {
    drawClasses(state.past[chosen], camera);
    drawRows(state.past[chosen].rows);
    drawFacts(state);
  }
}

function drawNothing() {
  // What stands there is of some time ago: nobody shall take it for the present.
  document.body.classList.add("cut");
  for (const id of ["fps", "age", "infer", "temperature", "throttling"]) text(byId(id), "–");
  if (!paused) byId("view").hidden = true; // until the next picture has come
  if (paused || !last) return;
  const camera = last.cameras[chosen];
  text(byId("said"), "No connection");
  text(byId("score"), camera && camera.kind !== undefined ? `Before that: ${said(camera)}` : "\u00a0");
  byId("answer").className = "answer nonews";
  text(byId("spoken"), "No connection");
  for (const row of document.querySelectorAll(".class.now")) row.classList.remove("now");
  byId("flag").hidden = true;
}

function redraw() {
  if (last) draw(last);
  if (document.body.classList.contains("cut")) drawNothing();
}

function showLive() {
  const view = byId("view");
  view.alt = `Live picture of ${about.cameras[chosen]}`;
  view.src = `/view/${chosen}`;
}

function lookAway() {
  // A view that nobody sees costs nobody anything.
  if (events) events.close();
  events = null;
  byId("view").removeAttribute("src");
}

function notice(words) {
  text(byId("notice"), words);
  byId("notice").hidden = !words;
}

function look() {
  lookAway();
  if (paused) byId("view").src = paused.url;
  else showLive();
  events = new EventSource("/events");
  events.onopen = () => {
    notice("");
    document.body.classList.remove("cut");
    if (!paused && !byId("view").src) showLive();
  };
  events.onmessage = (message) => draw(JSON.parse(message.data));
  events.onerror = () => {
    notice("No connection: the run has ended, or the network is gone. Trying again…");
    drawNothing();
    if (events && events.readyState === EventSource.CLOSED) {
      events = null;
      setTimeout(() => document.hidden || look(), 3000);
    }
    if (!paused) byId("view").removeAttribute("src");
  };
}

async function takeSnapshot() {
  const answer = await fetch(`/snapshot/${chosen}`);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  const told = JSON.parse(decodeURIComponent(answer.headers.get("edgeproof-answer")));
  const picture = await answer.blob();
  return { told, picture, url: URL.createObjectURL(picture) };
}

async function pause() {
  const button = byId("pause");
  try {
    if (paused) {
      URL.revokeObjectURL(paused.url);
      paused = null;
      showLive();
      redraw();
    } else {
      paused = await takeSnapshot();
      byId("view").src = paused.url;
      byId("view").alt = `Paused picture of ${about.cameras[chosen]}`;
      drawAnswer(paused.told);
      drawFlag();
    }
  } catch (error) {
    notice(`That did not work: ${error.message}`);
  }
  button.setAttribute("aria-pressed", String(paused !== null));
  text(button, paused ? "Go on" : "Pause view");
}

async function save() {
  try {
    const shot = paused || (await takeSnapshot());
    const link = make("a");
    link.href = shot.url;
    const time = new Date(1000 * shot.told.at).toISOString().slice(0, 19).replace(/[:T]/g, "-");
    link.download = `${about.bundle}-${time}.jpg`.replace(/[^\w.-]+/g, "_");
    link.click();
    if (shot !== paused) setTimeout(() => URL.revokeObjectURL(shot.url), 10000);
  } catch (error) {
    notice(`No snapshot: ${error.message}`);
  }
}

async function choose(number) {
  if (paused) await pause();
  chosen = number;
  document.querySelectorAll("#cameras button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
  byId("classes").replaceChildren();
  showLive();
  redraw();
}

function introduce() {
  document.title = `${about.bundle} – edgeproof`;
  text(byId("bundle"), about.bundle);
  text(byId("runs"), `${about.variant} on ${about.engine}`);
  text(byId("span"), `last ${about.history_s} s`);
  drawFacts(null);
  if (about.cameras.length < 2) return;
  byId("cameras").hidden = false;
  byId("cameras").replaceChildren(
    ...about.cameras.map((name, i) => {
      const button = make("button", "", name);
      button.type = "button";
      button.setAttribute("aria-pressed", String(i === chosen));
      button.addEventListener("click", () => choose(i));
      return button;
    }),
  );
}

async function begin() {
  about = await (await fetch("/about")).json();
  introduce();
  byId("pause").addEventListener("click", pause);
  byId("snapshot").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === "p") pause();
    if (event.key === "s") save();
  });
  byId("view").addEventListener("load", () => {
    byId("view").hidden = false;
    byId("waiting").hidden = true;
    const { naturalWidth: width, naturalHeight: height } = byId("view");
    if (width && height) byId("view").parentElement.style.aspectRatio = `${Math.max(width / height, 1)}`;
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? lookAway() : look()));
  look();
}

// Pictures and figures would only delay the first paint.
function afterFirstPaint(then) {
  let begun = false;
  const once = () => {
    if (!begun) then();
    begun = true;
  };
  new PerformanceObserver(once).observe({ type: "paint", buffered: true });
  setTimeout(once, 400); // a browser that does not tell, or a tab in the background
}

afterFirstPaint(() => begin().catch((error) => notice(`The page cannot begin: ${error.message}`)));
