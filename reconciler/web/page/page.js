// The page of relinkd: a table of links, what explains each, and the graph; live by server-sent
// events. All data come from containers that anyone may have named: they become text nodes and
// attributes' values, never markup.
"use strict";

const STATES = ["failed", "refused", "unreachable", "shadowed", "down", "waiting", "idle", "linked"];
const ICONS = {
  linked: "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z",
  waiting: "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z",
  down: "M-5-4L5-4L0 5Z",
  unreachable: "M-4-4L4 4M-4 4L4-4",
  shadowed: "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0ZM-3 3L3-3",
  refused: "M-4-4H4V4H-4ZM-4 4L4-4",
  failed: "M0-5L5 0L0 5L-5 0Z",
  idle: "M-4 0H4",
};
const FILLED = new Set(["linked", "down", "failed"]);
const SVG = "http://www.w3.org/2000/svg";
const DRAWN_AT_FIRST = 150; // links; larger graphs are drawn when they are opened
const byId = (id) => document.getElementById(id);

const shown = new Map(); // key of a link -> its rows
let links = [];
let revision = -1;
let onlyState = null;
let made = 0;
let loaded = false;

// -- elements --------------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function icon(state) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "-6 -6 12 12");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[state] ?? ICONS.idle);
  path.setAttribute("fill", FILLED.has(state) ? "currentColor" : "none");
  path.setAttribute("stroke", "currentColor");
  path.setAttribute("stroke-width", "1.5");
  svg.append(path);
  return svg;
}

// -- words -----------------------------------------------------------------------------------------

const aliases = (link) => [link.alias, ...link.also].join(", ");
const source = (link) => (link.host ? `${link.source} (${link.host})` : link.source);

function time(iso) {
  const when = new Date(iso);
  const today = when.toDateString() === new Date().toDateString();
  const pad = (number, width) => String(number).padStart(width, "0");
  const clock = [when.getHours(), when.getMinutes(), when.getSeconds()].map((n) => pad(n, 2));
  const day = [when.getFullYear(), when.getMonth() + 1, when.getDate()].map((n) => pad(n, 2));
  return `${today ? "" : `${day.join("-")} `}${clock.join(":")}.${pad(when.getMilliseconds(), 3)}`;
}

const moved = (change) => `${change.old ?? "nothing"} → ${change.new ?? "nothing"}`;

function after(change) {
  if (change.cause === undefined) return "";
  const of = change.of === undefined ? "" : ` of ${change.of}`;
  const ms = change.after_ms === undefined ? "" : `${change.after_ms} ms `;
  return `, ${ms}after ${change.cause}${of}`;
}

// -- table -----------------------------------------------------------------------------------------

function keyed(found) {
  const seen = new Map();
  return found.map((link) => {
    const key = JSON.stringify([link.recipient, link.alias, link.source, link.declared_by]);
    const count = seen.get(key) ?? 0;
    seen.set(key, count + 1);
    return { ...link, key: `${key} ${count}` };
  });
}

function bySeverity(one, other) {
  return STATES.indexOf(one.state) - STATES.indexOf(other.state);
}

class Row {
  constructor(link) {
    const id = `why-${(made += 1)}`;
    this.recipient = element("span");
    this.alias = element("span", { class: "alias" });
    this.button = element(
      "button",
      { type: "button", "aria-expanded": "false", "aria-controls": id },
      this.recipient, " ", this.alias,
    );
    this.source = element("td", { class: "wide" });
    this.word = element("span");
    this.iconAt = element("span");
    this.reason = element("span", { class: "reason" });
    this.state = element("td", { class: "state" }, this.iconAt, this.word, this.reason);
    this.addresses = element("td", { class: "mono wide" });
    this.time = element("time");
    this.change = element("span", { class: "small" });
    this.tr = element(
      "tr", {}, element("th", { scope: "row" }, this.button), this.source, this.state,
      this.addresses, element("td", {}, this.time, this.change),
    );
    this.facts = element("dl", { class: "facts" });
    this.steps = element("p", { class: "steps" });
    this.why = element(
      "tr", { class: "why", id, hidden: "" },
      element("td", { colspan: "5" }, this.facts, this.steps),
    );
    this.button.addEventListener("click", () => this.toggle());
    this.update(link);
  }

  update(link) {
    const before = this.link;
    this.link = link;
    setText(this.recipient, link.recipient);
    setText(this.alias, aliases(link));
    setText(this.source, source(link));
    if (before === undefined || before.state !== link.state) {
      this.state.dataset.state = link.state;
      this.iconAt.replaceChildren(icon(link.state));
    }
    setText(this.word, link.held ? `${link.state}, held` : link.state);
    setText(this.reason, link.reason);
    setText(this.addresses, link.addresses.join(" "));
    const change = link.last_change;
    setText(this.time, change === null ? "" : time(change.time));
    if (change !== null) this.time.dateTime = change.time;
    setText(this.change, change === null ? "none seen" : `${moved(change)}${after(change)}`);
    if (!this.why.hidden && JSON.stringify(before) !== JSON.stringify(link)) this.explain();
  }

  flash() {
    this.tr.classList.remove("fresh");
    void this.tr.offsetWidth; // so that the animation begins again
    this.tr.classList.add("fresh");
  }

  toggle() {
    const open = this.why.hidden;
    this.why.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.explain();
  }

  async explain() {
    const link = this.link;
    const facts = [
      ["Source", source(link)],
      ["Addresses", link.addresses.join(" ") || "none"],
      ["Network", link.network || "none"],
      ["Declared by", link.declared_by],
      ["Reason", link.reason || "none: it is as declared"],
    ];
    this.facts.replaceChildren(
      ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
    if (!this.steps.textContent) setText(this.steps, "asking");
    const query = new URLSearchParams({ recipient: link.recipient, alias: link.alias });
    try {
      const answer = await fetch(`explain?${query}`);
      const text = answer.ok
        ? (await answer.json()).steps.join("\n")
        : `no answer: ${(await answer.text()).trim()}`;
      if (this.link === link) setText(this.steps, text);
    } catch {
      setText(this.steps, "no answer: relinkd cannot be reached");
    }
  }
}

function matches(link, words) {
  const change = link.last_change;
  const text = [
    link.recipient, aliases(link), source(link), link.declared_by, link.state,
    link.held ? "held" : "", link.network, link.reason, ...link.addresses,
    change === null ? "" : change.cause ?? "",
  ].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

function render() {
  const body = byId("rows");
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = new Set();
  let count = 0;
  let at = body.firstElementChild;
  for (const link of links) {
    let row = shown.get(link.key);
    if (row === undefined) {
      row = new Row(link);
      shown.set(link.key, row);
    } else if (row.link !== link) {
      row.update(link);
    }
    kept.add(link.key);
    if (row.tr === at) {
      at = row.why.nextElementSibling;
    } else {
      body.insertBefore(row.tr, at);
      body.insertBefore(row.why, at);
    }
    const visible = (onlyState === null || link.state === onlyState) && matches(link, words);
    row.tr.hidden = !visible;
    row.why.hidden = !visible || row.button.getAttribute("aria-expanded") === "false";
    count += visible;
  }
  for (const [key, row] of shown) {
    if (!kept.has(key)) {
      row.tr.remove();
      row.why.remove();
      shown.delete(key);
    }
  }
  const problems = links.filter((link) => !["linked", "idle"].includes(link.state)).length;
  const attention = problems === 1 ? "1 needs attention" : `${problems} need attention`;
  setText(byId("count"), `${count} of ${links.length} links; ${attention}`);
  byId("none").hidden = count > 0;
  renderStates();
}

let rendering = false;

function renderSoon() {
  // Once for all changes of a burst.
  if (rendering) return;
  rendering = true;
  requestAnimationFrame(() => {
    rendering = false;
    render();
  });
}

function renderStates() {
  const counts = new Map();
  for (const { state } of links) counts.set(state, (counts.get(state) ?? 0) + 1);
  if (onlyState !== null && !counts.has(onlyState)) counts.set(onlyState, 0);
  const group = byId("states");
  for (const state of STATES) {
    let button = group.querySelector(`[data-state="${state}"]`);
    if (!counts.has(state)) {
      button?.remove();
      continue;
    }
    if (button === null) {
      button = element("button", { type: "button", "data-state": state });
      button.addEventListener("click", () => {
        onlyState = onlyState === state ? null : state;
        render();
      });
      const later = STATES.slice(STATES.indexOf(state) + 1);
      const next = [...group.children].find((each) => later.includes(each.dataset.state));
      group.insertBefore(button, next ?? null);
    }
    button.setAttribute("aria-pressed", String(onlyState === state));
    setText(button, `${counts.get(state)} ${state}`);
  }
}

// -- graph -----------------------------------------------------------------------------------------

let drawnRevision = -1;
let drawing = false;

async function draw() {
  if (!byId("graph").open || drawing || drawnRevision >= revision) return;
  drawing = true;
  const wanted = revision;
  let pause = 0;
  try {
    const answer = await fetch("graph.svg");
    if (answer.ok) {
      drawnRevision = Number(answer.headers.get("Relinkd-Revision"));
      show(new DOMParser().parseFromString(await answer.text(), "image/svg+xml"));
    } else {
      drawnRevision = wanted;
      byId("drawing").replaceChildren(element("p", {}, (await answer.text()).trim()));
    }
    if (drawnRevision < wanted) pause = 1000; // it was drawn a moment before
  } catch {
    pause = 3000;
  }
  drawing = false;
  if (pause > 0) setTimeout(draw, pause);
  else draw();
}

const name = (box) => box.querySelector(":scope > title").textContent;

function show(parsed) {
  const svg = document.importNode(parsed.documentElement, true);
  for (const each of svg.querySelectorAll("style, script")) each.remove();
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", svg.querySelector("title")?.textContent ?? "links");
  svg.querySelector("title")?.remove();
  const boxes = [...svg.querySelectorAll("[data-box]")];
  const focused = byId("drawing").querySelector("[data-box]:focus");
  for (const box of boxes) {
    box.setAttribute("tabindex", box === boxes[0] ? "0" : "-1");
    box.setAttribute("role", "button");
    const texts = [...box.querySelectorAll("text")].map((text) => text.textContent);
    box.setAttribute("aria-label", texts.join(" "));
  }
  follow(svg, boxes);
  byId("drawing").replaceChildren(svg);
  const again = focused && boxes.find((box) => name(box) === name(focused));
  if (again) move(boxes, again);
}

function move(boxes, to) {
  for (const box of boxes) box.setAttribute("tabindex", box === to ? "0" : "-1");
  to.focus();
}

function follow(svg, boxes) {
  const arrows = [...svg.querySelectorAll("[data-from]")];
  const at = (event) => event.target.closest?.("[data-box]");

  function light(box) {
    const lit = new Set();
    for (const [from, to] of [["from", "to"], ["to", "from"]]) {
      const found = new Set([box.dataset.box]);
      for (const number of found) {
        for (const arrow of arrows) {
          if (arrow.dataset[from] === number) {
            lit.add(arrow);
            found.add(arrow.dataset[to]);
          }
        }
      }
      for (const each of boxes) if (found.has(each.dataset.box)) lit.add(each);
    }
    for (const each of [...arrows, ...boxes]) each.classList.toggle("lit", lit.has(each));
    svg.classList.add("dim");
  }

  function enter(event) {
    const box = at(event);
    if (box) light(box);
  }

  function leave(event) {
    const box = at(event);
    if (box && !box.contains(event.relatedTarget)) svg.classList.remove("dim");
  }

  function choose(box) {
    byId("filter").value = name(box).replace(/ \([^()]*\)$/, "");
    onlyState = null;
    render();
    byId("filter").scrollIntoView({ block: "nearest" });
  }

  svg.addEventListener("pointerover", enter);
  svg.addEventListener("focusin", enter);
  svg.addEventListener("pointerout", leave);
  svg.addEventListener("focusout", leave);
  svg.addEventListener("click", (event) => {
    const box = at(event);
    if (box) choose(box);
  });
  svg.addEventListener("keydown", (event) => {
    const box = at(event);
    if (!box) return;
    const here = boxes.indexOf(box);
    const to = {
      ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1,
      Home: 0, End: boxes.length - 1,
    }[event.key];
    if (to !== undefined && boxes[to]) move(boxes, boxes[to]);
    else if (event.key === "Enter" || event.key === " ") choose(box);
    else return;
    event.preventDefault();
  });
}

// -- what is new -----------------------------------------------------------------------------------

async function load() {
  const answer = await fetch("links");
  if (!answer.ok) return;
  const first = !loaded;
  loaded = true;
  revision = Number(answer.headers.get("Relinkd-Revision"));
  links = keyed(await answer.json()).sort(bySeverity);
  if (first && links.length > DRAWN_AT_FIRST) byId("graph").open = false;
  render();
  draw();
}

let loading = null;

function reload() {
  // One at a time; news that comes meanwhile is loaded after it.
  loading = (loading ?? Promise.resolve()).then(load).catch(() => setTimeout(reload, 3000));
}

function apply(change) {
  const alias = change.alias.toLowerCase();
  const changed = (link) =>
    link.recipient === change.recipient &&
    [link.alias, ...link.also].some((each) => each.toLowerCase() === alias);
  links = links.map((link) => (changed(link) ? { ...link, last_change: change } : link));
  renderSoon();
  for (const link of links) if (changed(link)) shown.get(link.key)?.flash();
  setText(byId("news"), `${change.recipient}, ${change.alias}: ${moved(change)}`);
}

function listen() {
  const events = new EventSource("events");
  const daemon = byId("daemon");
  events.addEventListener("open", () => {
    revision = drawnRevision = -1; // it may be another daemon, which counts from one
  });
  events.addEventListener("daemon", (event) => {
    const { version, line } = JSON.parse(event.data);
    setText(daemon, `${version}: ${line}`);
    daemon.classList.toggle("bad", !line.startsWith("ok"));
  });
  events.addEventListener("links", (event) => {
    if (JSON.parse(event.data).revision !== revision) reload();
  });
  events.addEventListener("link.changed", (event) => apply(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    setText(daemon, "relinkd cannot be reached; what is shown is the last that was known");
    daemon.classList.add("bad");
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
}

byId("filter").addEventListener("input", render);
byId("graph").addEventListener("toggle", draw);
listen();
