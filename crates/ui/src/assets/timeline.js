// The timeline of a run. The history comes in parts and is put together here; only the rows in sight are in the page.
"use strict";
(() => {
  const box = document.querySelector("[data-timeline]");
  if (!box) return;
  const tools = document.querySelector("[data-timeline-tools]");
  const counter = document.querySelector("[data-timeline-count]");
  const open = "open" in box.dataset;
  const tones = { completed: "green", failed: "red", "timed out": "red", canceled: "yellow", terminated: "orange", done: "blue" };
  const attemptTones = { completed: "green", failed: "red", canceled: "yellow", running: "blue", waiting: "gray" };
  const rows = [], byKey = new Map(), attempts = new Map();
  let shown = [], last = 0, first = 0, end = 0, zoom = 1, tasks = false, loading = false, over = false;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const HEIGHT = 1.6 * rem;
  const isPhone = () => matchMedia("(max-width: 46rem)").matches;
  const gutter = () => (isPhone() ? 8 : 15) * rem;
  // Behind the last bar there is room for what is said of it.
  const margin = () => (isPhone() ? 5 : 12) * rem;

  const space = document.createElement("div"), axis = document.createElement("div"), layer = document.createElement("div");
  space.className = "timeline-space";
  axis.className = "timeline-axis";
  axis.setAttribute("aria-hidden", "true");
  layer.className = "timeline-rows";
  space.append(axis, layer);

  const take = ([id, at, what, a, b, c]) => {
    if (id <= last) return;
    last = id;
    if (!first || at < first) first = at;
    if (at > end) end = at;
    if (what === "o") {
      const row = { id, kind: a, name: b, from: at, to: null, outcome: null, text: "" };
      rows.push(row);
      byKey.set(id, row);
    } else if (what === "p") {
      rows.push({ id, kind: a, name: b, from: at, to: at, outcome: c, text: "" });
    } else if (what === "c") {
      const row = byKey.get(a);
      if (row) { row.to = at; row.outcome = b; row.text = c || ""; byKey.delete(a); if (a === 1) over = true; }
    }
  };
  const load = async () => {
    if (loading) return;
    loading = true;
    try {
      for (let from = last + 1; from;) {
        const answer = await fetch(`${box.dataset.timeline}?from=${from}`);
        if (!answer.ok) throw new Error(String(answer.status));
        const part = await answer.json();
        part.pieces.forEach(take);
        from = part.next;
        if (from) { counter.textContent = `reading, ${last.toLocaleString("en")} events`; draw(); }
      }
      const answer = await fetch(`${box.dataset.timeline}?attempts=1`);
      if (answer.ok) for (const [key, all] of (await answer.json()).attempts) attempts.set(key, all);
      counter.textContent = `${last.toLocaleString("en")} events`;
      box.dataset.read = last;
    } catch (error) {
      counter.textContent = `the history could not be read (${error.message})`;
    }
    loading = false;
    draw();
  };

  const length = (ms) => ms < 1000 ? `${ms}ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)}s` : ms < 3600000 ? `${Math.floor(ms / 60000)}m ${Math.floor(ms / 1000) % 60}s`
    : ms < 86400000 ? `${Math.floor(ms / 3600000)}h ${Math.floor(ms / 60000) % 60}m` : `${Math.floor(ms / 86400000)}d ${Math.floor(ms / 3600000) % 24}h`;
  const now = () => open && !over ? Math.max(Date.now(), end) : end;
  let scale = null;
  const place = (at) => scale.left + (at - first) / scale.span * scale.width;

  // Steps of the axis: a round length that leaves some room for its label.
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 2592e6, 7776e6, 31536e6];
  const drawAxis = () => {
    const least = scale.span * 6 * rem / scale.width;
    const step = STEPS.find((one) => one >= least) || STEPS[STEPS.length - 1];
    const from = Math.max(0, Math.floor((box.scrollLeft / scale.width * scale.span) / step) - 1);
    const marks = [];
    for (let n = Math.max(from, 0); n * step <= scale.span && marks.length < 60; n++) {
      const mark = document.createElement("span");
      mark.textContent = n === 0 ? "0" : `+${length(n * step)}`.replace(/ 0[smh]$/, "").replace(".0s", "s");
      mark.style.left = `${place(first + n * step)}px`;
      marks.push(mark);
    }
    axis.replaceChildren(...marks);
  };

  const element = (name, classes) => { const one = document.createElement(name); one.className = classes; return one; };
  const bar = (row) => {
    const line = element("a", "timeline-row");
    const link = new URL(box.dataset.history, location.href);
    link.searchParams.set("event", row.id);
    line.href = link.href;
    const ended = row.to === null ? now() : row.to;
    const point = row.to === row.from && row.outcome !== null && !byKey.has(row.id) && ["signal", "marker", "update", "other"].includes(row.kind);
    const name = element("span", "timeline-name"), kind = document.createElement("i");
    kind.textContent = row.kind;
    name.append(kind, row.name);
    name.title = `${row.kind} ${row.name}`;
    const mark = element("span", "timeline-bar");
    mark.dataset.tone = row.to === null ? "blue" : tones[row.outcome] || "gray";
    if (row.to === null) mark.classList.add("open");
    mark.style.left = `${place(row.from)}px`;
    if (point) mark.classList.add("point");
    else mark.style.width = `${Math.max(3, place(ended) - place(row.from))}px`;
    line.append(name, mark);
    const tries = row.kind === "activity" ? attempts.get(row.id) || [] : [];
    if (tries.length > 1) {
      for (const [, from, to, outcome] of tries) {
        if (!from) continue;
        const one = element("span", "timeline-attempt");
        one.dataset.tone = outcome.startsWith("timed out") ? "red" : attemptTones[outcome] || "gray";
        one.style.left = `${place(from)}px`;
        one.style.width = `${Math.max(2, place(to || now()) - place(from))}px`;
        line.append(one);
      }
    }
    const took = element("span", "timeline-took");
    const state = row.to === null ? "open" : row.outcome;
    const worst = tries.length > 1 ? `, ${tries[tries.length - 1][0]} attempts` : "";
    took.textContent = point ? (row.outcome === "failed" ? "failed" : "") : `${length(ended - row.from)}${state === "completed" || state === "done" ? "" : `, ${state}`}${worst}${row.text ? ` · ${row.text}` : ""}`;
    took.style.left = `${Math.max(place(ended) + (point ? 8 : 0), scale.left)}px`;
    line.append(took);
    return line;
  };

  const inPage = new Map();
  const drawRows = () => {
    const from = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - 8);
    const to = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + 8);
    for (const [at, line] of inPage) if (at < from || at >= to) { if (!line.contains(document.activeElement)) { line.remove(); inPage.delete(at); } }
    for (let at = from; at < to; at++) {
      if (inPage.has(at)) continue;
      const line = bar(shown[at]);
      line.style.top = `${1.6 * rem + at * HEIGHT}px`;
      // In the order of the rows, so that the keyboard goes through them so.
      const next = [...inPage.keys()].filter((other) => other > at).sort((a, b) => a - b)[0];
      layer.insertBefore(line, next === undefined ? null : inPage.get(next));
      inPage.set(at, line);
    }
  };
  const draw = () => {
    if (!rows.length) return;
    if (!space.isConnected) { box.replaceChildren(space); tools.hidden = false; }
    const interesting = (row) => tasks || row.kind !== "task" || row.outcome === "failed" || row.outcome === "timed out";
    shown = rows.filter(interesting);
    const left = gutter();
    const room = Math.max(120, box.clientWidth - left - margin());
    scale = { left, width: room * zoom, span: Math.max(1, now() - first) };
    space.style.width = `${left + scale.width + margin()}px`;
    space.style.height = `${1.6 * rem + shown.length * HEIGHT}px`;
    const focused = [...inPage].find(([, line]) => line.contains(document.activeElement));
    for (const line of inPage.values()) line.remove();
    inPage.clear();
    drawRows();
    if (focused && inPage.has(focused[0])) inPage.get(focused[0]).focus({ preventScroll: true });
    drawAxis();
  };

  let planned = false;
  box.addEventListener("scroll", () => {
    if (planned || !scale) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; drawRows(); drawAxis(); });
  });
  const zoomTo = (next) => {
    if (!scale) return;
    const middle = (box.scrollLeft + (box.clientWidth - scale.left) / 2) / scale.width;
    zoom = Math.min(2000, Math.max(1, next));
    draw();
    box.scrollLeft = middle * scale.width - (box.clientWidth - scale.left) / 2;
    drawAxis();
  };
  tools.addEventListener("click", (event) => {
    const how = event.target.closest("[data-zoom]");
    if (how) zoomTo(how.dataset.zoom === "in" ? zoom * 2 : how.dataset.zoom === "out" ? zoom / 2 : 1);
  });
  tools.querySelector("[data-timeline-tasks]").addEventListener("change", (event) => { tasks = event.target.checked; draw(); });
  box.addEventListener("keydown", (event) => {
    const how = { "+": zoom * 2, "=": zoom * 2, "-": zoom / 2, 0: 1 }[event.key];
    if (how !== undefined && !event.ctrlKey && !event.metaKey) { event.preventDefault(); zoomTo(how); }
  });
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(zoom * (event.deltaY < 0 ? 1.5 : 1 / 1.5));
  }, { passive: false });
  addEventListener("resize", draw);
  document.addEventListener("sempre:read", load);
  load();
})();
