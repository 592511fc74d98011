"use strict";
// The table of all rows: sorted, filtered, and drawn one page at a time.
(() => {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("rows").textContent);
  const table = document.getElementById("table");
  const form = document.getElementById("filters");
  const pager = document.getElementById("pager");
  const count = document.getElementById("count");
  const total = data.names.length;
  const heads = [...table.tHead.rows[0].cells];
  const labels = new Map(heads.map((head) => [head.dataset.key, head.textContent]));
  const scoreClasses = heads.filter((head) => head.dataset.key.startsWith("score:"))
    .map((head) => ({ "S-MOS": "s_mos", "N-MOS": "n_mos", "G-MOS": "g_mos" })[head.textContent] || "");
  const gates = data.gates.map((rows) => new Set(rows));
  const whole = new Intl.NumberFormat("en");
  let sort = { key: "order", direction: 1 };
  let order = Uint32Array.from({ length: total }, (_, index) => index);
  let shown = order;
  let page = 0;

  const flagsOf = (row) => data.flagNames.filter((_, bit) => (data.flags[row] >> bit) & 1);
  const scored = (row) => data.statusNames[data.statuses[row]] === "ok";
  const note = (row) => {
    const flags = flagsOf(row).join(", ");
    if (scored(row)) return flags;
    const reason = data.reasons.names[data.reasons.codes[row]];
    return `${data.statusNames[data.statuses[row]]}: ${reason}${flags ? ` (${flags})` : ""}`;
  };
  const channel = (row) => data.channels.names[data.channels.codes[row]];
  const length = (ms) => {
    const seconds = ms / 1000;
    if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
    const rounded = Math.round(seconds);
    const minutes = Math.floor(rounded / 60) % 60;
    const rest = String(rounded % 60).padStart(2, "0");
    return rounded < 3600 ? `${minutes}:${rest}` : `${Math.floor(rounded / 3600)}:${String(minutes).padStart(2, "0")}:${rest}`;
  };

  // What a column is sorted by: numbers or text for every row, undefined where there is nothing.
  const keysOf = (key) => {
    const numbers = (column, missing) => column.map((value) => (value === missing ? undefined : value));
    if (key === "order") return null;
    if (key === "name") return data.names;
    if (key === "channel") return data.names.map((_, row) => Number(channel(row)) || channel(row));
    if (key === "duration") return numbers(data.durations, -1);
    if (key === "rate") return numbers(data.rates, -1);
    if (key === "note") return data.names.map((_, row) => note(row) || undefined);
    return numbers(data.scores[Number(key.slice(6))], data.missing);
  };
  const reorder = () => {
    const { direction } = sort;
    const keys = keysOf(sort.key);
    order = Uint32Array.from({ length: total }, (_, index) => index);
    if (!keys) {
      if (direction < 0) order.reverse();
      return;
    }
    order.sort((a, b) => {
      const left = keys[a];
      const right = keys[b];
      if (left === right) return a - b;
      if (left === undefined) return 1; // missing values come last in both directions
      if (right === undefined) return -1;
      return left < right ? -direction : direction;
    });
  };

  let searched = null;
  const matcher = () => {
    const tests = [];
    const text = form.elements.text.value.trim().toLowerCase();
    if (text) {
      searched ??= data.names.map((name, row) => `${name}\n${note(row)}`.toLowerCase());
      tests.push((row) => searched[row].includes(text));
    }
    const [kind, what] = form.elements.show.value.split(":");
    if (kind === "ok") tests.push(scored);
    if (kind === "failed") tests.push((row) => !scored(row));
    if (kind === "listen") tests.push((row) => row in data.details);
    if (kind === "gate") tests.push((row) => gates[what].has(row));
    if (kind === "status") tests.push((row) => data.statusNames[data.statuses[row]] === what);
    if (kind === "flag") tests.push((row) => (data.flags[row] >> data.flagNames.indexOf(what)) & 1);
    const below = form.elements.below.valueAsNumber;
    if (!Number.isNaN(below)) {
      const column = data.scores[form.elements.score.value];
      tests.push((row) => column[row] !== data.missing && column[row] / data.steps < below);
    }
    return (row) => tests.every((test) => test(row));
  };

  const cell = (tag, text, classes, label) => {
    const element = document.createElement(tag);
    element.setAttribute("role", tag === "th" ? "rowheader" : "cell");
    if (tag === "th") element.scope = "row";
    if (classes) element.className = classes;
    if (label) element.dataset.label = label;
    element.append(text);
    return element;
  };
  const nameCell = (row) => {
    const name = document.createElement("bdi");
    name.textContent = data.names[row];
    if (!(row in data.details)) return cell("th", name, "path");
    const link = document.createElement("a");
    link.href = `#${data.details[row]}`;
    link.append(name);
    return cell("th", link, "path");
  };
  const line = (row) => {
    const element = document.createElement("tr");
    element.setAttribute("role", "row");
    if (!scored(row)) element.className = "bad";
    element.append(cell("td", String(row + 1), "number order"), nameCell(row));
    if (labels.has("channel")) element.append(cell("td", channel(row), "", "channel"));
    const duration = data.durations[row] < 0 ? "" : length(data.durations[row]);
    const rate = data.rates[row] < 0 ? "" : `${data.rates[row] / 1000} kHz`;
    element.append(cell("td", duration, "number small", "length"), cell("td", rate, "number small", "rate"));
    data.scores.forEach((column, index) => {
      const known = column[row] !== data.missing;
      const value = column[row] / data.steps;
      const bar = `w${Math.min(20, Math.max(0, Math.round((value - 1) * 5)))}`;
      const classes = known ? `number score ${scoreClasses[index]} ${bar}` : "number";
      element.append(cell("td", known ? value.toFixed(2) : "–", classes, labels.get(`score:${index}`)));
    });
    element.append(cell("td", note(row), "notes"));
    return element;
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const from = page * PAGE;
    const rows = shown.subarray(from, from + PAGE);
    table.tBodies[0].replaceChildren(...Array.from(rows, line));
    const filtered = shown.length < total ? ` of ${whole.format(total)}` : "";
    count.textContent = `${whole.format(shown.length)}${filtered} ${total === 1 ? "row" : "rows"}`;
    pager.hidden = pages === 1;
    pager.querySelector("span").textContent =
      `${whole.format(from + 1)}–${whole.format(from + rows.length)} of ${whole.format(shown.length)}`;
    for (const button of pager.querySelectorAll("button")) {
      button.disabled = ["first", "previous"].includes(button.value) ? page === 0 : page === pages - 1;
    }
  };
  const refilter = () => {
    shown = order.filter(matcher());
    page = 0;
    draw();
  };

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const { key } = head.dataset;
      sort = { key, direction: sort.key === key ? -sort.direction : 1 };
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sort.direction > 0 ? "ascending" : "descending");
      reorder();
      refilter();
    });
    head.replaceChildren(button);
  }
  heads[0].setAttribute("aria-sort", "ascending");
  for (const note of document.querySelectorAll(".without-script")) note.remove();
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refilter);
  form.addEventListener("reset", () => setTimeout(refilter));
  pager.addEventListener("click", (event) => {
    const steps = { first: -Infinity, previous: -1, next: 1, last: Infinity };
    if (!(event.target.value in steps)) return;
    page = Math.min(page + steps[event.target.value], Math.ceil(shown.length / PAGE));
    draw();
    table.scrollIntoView();
  });
  refilter();
})();
