"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
  const linkOf = (id) => `#sample=${encodeURIComponent(id)}`;

  const root = document.documentElement;
  root.classList.add("js");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = (theme) => { root.dataset.theme = theme; };
  let chosen = null;
  paint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => { if (chosen === null) paint(dark.matches ? "dark" : "light"); });
  byId("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    paint(chosen);
  });

  const gallery = galleryOf();
  const list = listOf(read("samples-json"));
  matrixOf(read("matrix-json"));
  // A link to a sample, of this page or from elsewhere.
  function follow() {
    const [name, coded] = location.hash.split("=");
    if (name !== "#sample") return;
    let id = coded;
    try { id = decodeURIComponent(coded); } catch { /* not coded: as it is */ }
    list?.mark(id, true);
    gallery?.find(id);
  }
  window.addEventListener("hashchange", follow);
  follow();

  function listOf(data) {
    if (!byId("list")) return null;
    const CHUNK = 100;
    const recurs = data.steps.some((steps) => steps > 0);
    const states = ["correct", "missed", "wrong"];
    const statusOf = (i) => (i in data.errors ? "failed" : "ok");
    const namesOf = (codes, state) => codes.filter((code) => code % 3 === state).map((code) => data.names[Math.floor(code / 3)]);
    const classesOf = data.classes.map((codes) =>
      states.map((word, state) => [word, namesOf(codes, state)]).filter(([, names]) => names.length)
        .map(([word, names]) => `${word}: ${names.join(", ")}`).join(" · "));
    const texts = data.ids.map((id, i) => `${id}\n${classesOf[i]}\n${data.errors[i] ?? ""}`.toLowerCase());
    const columns = [
      { key: "id", value: (i) => data.ids[i], show: (i) => make("a", { href: linkOf(data.ids[i]), textContent: data.ids[i] }) },
      { key: data.figure_name, value: (i) => data.figures[i], show: (i) => percent(data.figures[i]), number: true },
      { key: data.classes_name, value: (i) => data.classes[i].length, show: (i) => classesOf[i], most: "most", least: "fewest" },
      ...(recurs ? [{ key: "steps", value: (i) => data.steps[i], show: (i) => data.steps[i], number: true }] : []),
      { key: "seconds", value: (i) => data.seconds[i], show: (i) => data.seconds[i].toFixed(2), number: true },
      { key: "status", value: statusOf, show: (i) => statusOf(i) + (i in data.errors ? `: ${data.errors[i]}` : "") },
      ...(gallery ? [{ key: "pictures", value: (i) => Number(gallery.has(data.ids[i])), show: (i) => (gallery.has(data.ids[i]) ? "yes" : "") }] : []),
    ];
    const [box, count, search, sort, low, high] = ["list", "count", "search", "sort", "low", "high"].map(byId);
    const [status, label] = ["status", "any-class"].map(byId);
    const [head, body] = ["thead tr", "tbody"].map((selector) => box.querySelector(selector));
    const filters = [search, status, label, low, high].filter(Boolean);
    let shown = [];
    let [first, end] = [0, 0];  // the part of `shown` that has rows
    let marked = -1;

    sort.append(make("option", { value: "", textContent: "as recorded" }));
    for (const column of columns) {
      const heading = make("button", { type: "button", textContent: column.key });
      heading.addEventListener("click", () => {
        sort.value = sort.value === `${column.key} up` ? `${column.key} down` : `${column.key} up`;
        choose();
      });
      head.append(make("th", { scope: "col", className: column.number ? "num" : "" }, heading));
      sort.append(make("option", { value: `${column.key} up`, textContent: `${column.key}, rising` }));
      sort.append(make("option", { value: `${column.key} down`, textContent: `${column.key}, falling` }));
    }
    if (label) {
      const names = data.names.map((name, place) => [name, place]).sort((a, b) => a[0].localeCompare(b[0]));
      label.append(...names.map(([textContent, value]) => make("option", { value, textContent })));
    }

    function rowOf(i) {
      const cells = columns.map((column) => {
        const cell = make("td", { className: column.number ? "num" : "words" }, column.show(i));
        cell.dataset.heading = column.key;
        return cell;
      });
      const row = make("tr", { className: statusOf(i) === "ok" ? "" : "failed" }, ...cells);
      if (i === marked) row.setAttribute("aria-current", "true");
      return row;
    }

    // Rows are made as they are scrolled to: five thousand at once would take seconds.
    function append(n) {
      body.append(...shown.slice(end, end + n).map(rowOf));
      end = Math.min(shown.length, end + n);
    }
    function prepend(n) {
      const [below, start] = [box.scrollHeight - box.scrollTop, Math.max(0, first - n)];
      body.prepend(...shown.slice(start, first).map(rowOf));
      first = start;
      box.scrollTop = box.scrollHeight - below;
    }
    function drawFrom(position) {
      body.replaceChildren();
      first = end = position;
      append(CHUNK);
      box.scrollTop = 0;
    }

    function choose() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const [from, to] = [low, high].map((field) => (field.value === "" ? null : field.valueAsNumber / 100));
      const wanted = label?.value ? Number(label.value) : null;
      const fits = (i) => words.every((word) => texts[i].includes(word))
        && (!status?.value || statusOf(i) === status.value)
        && (wanted === null || data.classes[i].some((code) => Math.floor(code / 3) === wanted))
        && (from === null || (data.figures[i] !== null && data.figures[i] >= from))
        && (to === null || (data.figures[i] !== null && data.figures[i] <= to));
      shown = data.ids.map((_, i) => i).filter(fits);
      const key = sort.value.slice(0, sort.value.lastIndexOf(" "));
      const place = columns.findIndex((column) => column.key === key);
      const sign = sort.value.endsWith("down") ? -1 : 1;
      if (place >= 0) {
        const { value } = columns[place];
        const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
        const keyed = shown.map((i) => [value(i), i]);
        // What is undefined comes last in both orders.
        keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
        shown = keyed.map(([, i]) => i);
      }
      [...head.children].forEach((heading, at) => {
        heading.setAttribute("aria-sort", at === place ? (sign > 0 ? "ascending" : "descending") : "none");
      });
      count.textContent = shown.length === data.ids.length ? `${shown.length} samples` : `${shown.length} of ${data.ids.length} samples`;
      drawFrom(0);
    }

    function mark(id, comes) {
      body.querySelector("[aria-current]")?.removeAttribute("aria-current");
      marked = data.ids.indexOf(id);
      if (marked < 0) {
        if (comes) count.textContent = `no sample ${id} on this page`;
        return;
      }
      if (comes && !shown.includes(marked)) reset();
      const place = shown.indexOf(marked);
      if (comes && (place < first || place >= end)) {
        drawFrom(place);
        prepend(CHUNK);
      }
      const row = place < first ? null : body.children[place - first];
      row?.setAttribute("aria-current", "true");
      if (!comes) return;
      box.scrollTop = row.offsetTop - box.clientHeight / 2;
      if (!gallery?.has(id)) byId("samples").scrollIntoView();
    }

    function reset() {
      for (const field of filters) field.value = "";
      choose();
    }

    box.addEventListener("scroll", () => {
      if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) append(CHUNK);
      else if (first > 0 && box.scrollTop < box.clientHeight) prepend(CHUNK);
    });
    for (const field of filters) field.addEventListener("input", choose);
    sort.addEventListener("change", choose);
    byId("reset").addEventListener("click", () => { sort.value = ""; reset(); });
    window.addEventListener("beforeprint", () => { prepend(first); append(shown.length); });
    choose();
    return { mark };
  }

  function matrixOf(data) {
    const [details, select] = ["matrix", "matrix-class"].map(byId);
    if (!details || !data) return;
    const MOST = 200;  // classes of a table; more would be a million cells
    const [rows, columns] = [new Map(), new Map()];
    const sums = new Map();
    data.pixels.forEach((pixels, at) => {
      const [target, prediction] = [data.targets[at], data.predictions[at]];
      for (const [map, key, other] of [[rows, target, prediction], [columns, prediction, target]]) {
        if (!map.has(key)) map.set(key, new Map());
        map.get(key).set(other, pixels);
      }
      sums.set(target, (sums.get(target) ?? 0) + pixels);
    });
    const used = data.labels.map((_, label) => label).filter((label) => rows.has(label) || columns.has(label));
    select.append(...used.map((value) => make("option", { value, textContent: data.labels[value] })));

    function bars(list, cells) {
      const largest = [...cells].sort((a, b) => b[1] - a[1]);
      const all = largest.reduce((sum, cell) => sum + cell[1], 0);
      list.replaceChildren(...largest.flatMap(([label, pixels]) => {
        const bar = make("i");
        bar.style.width = `${(100 * pixels) / all}%`;
        const track = make("div", { className: "track", title: `${pixels} pixels` }, bar);
        return [make("dt", { textContent: data.labels[label] }), make("dd", {}, track), make("dd", { className: "figure", textContent: percent(pixels / all) })];
      }));
    }
    function choose() {
      bars(byId("matrix-row"), rows.get(Number(select.value)) ?? []);
      bars(byId("matrix-column"), columns.get(Number(select.value)) ?? []);
    }
    function table() {
      const heading = (label, scope) => make("th", { scope, title: data.labels[label] }, make("span", { textContent: data.labels[label] }));
      const cellOf = (target, prediction) => {
        const pixels = rows.get(target)?.get(prediction);
        if (!pixels) return make("td");
        const share = pixels / sums.get(target);
        const cell = make("td", { textContent: (100 * share).toFixed(share < 0.0995 ? 1 : 0), title: `${data.labels[target]} as ${data.labels[prediction]}: ${pixels} pixels` });
        cell.style.setProperty("--share", `${Math.round(40 * share)}%`);
        cell.classList.toggle("own", target === prediction);
        return cell;
      };
      details.querySelector(".wide table").append(
        make("thead", {}, make("tr", {}, make("td"), ...used.map((label) => heading(label, "col")))),
        make("tbody", {}, ...used.map((target) => make("tr", {}, heading(target, "row"), ...used.map((prediction) => cellOf(target, prediction))))),
      );
    }
    details.addEventListener("toggle", () => {
      if (used.length <= MOST) table();
      else details.querySelector(".wide").replaceWith(`${used.length} classes are too many for a table: choose one above.`);
      choose();
    }, { once: true });
    select.addEventListener("change", choose);
  }

  function galleryOf() {
    const section = byId("gallery");
    const samples = [...document.querySelectorAll(".sample")];
    if (!section || samples.length === 0) return null;
    const [group, label, order] = ["group", "class", "order"].map(byId);
    const [previous, next, place, thumbs] = ["previous", "next", "place", "thumbs"].map(byId);
    const byName = new Map(samples.map((sample) => [sample.dataset.id, sample]));
    let shown = samples;
    let current = 0;

    const orders = {
      given: () => 0,
      falling: (a, b) => b.dataset.figure - a.dataset.figure,
      rising: (a, b) => a.dataset.figure - b.dataset.figure,
    };
    // The strip may be of thousands: only what is near is loaded.
    const seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) target.style.cssText = byName.get(target.title).style.cssText;
      }
    }, { root: thumbs, rootMargin: "0px 600px" });
    const thumbOf = new Map(samples.map((sample) => {
      const picture = sample.querySelector(".trio figure:last-child .stack").cloneNode(true);
      picture.removeAttribute("role");
      picture.removeAttribute("aria-label");
      const name = `${sample.dataset.id}, ${sample.dataset.caption}`;
      const button = make("button", { type: "button", title: sample.dataset.id, ariaLabel: name }, picture, make("span", { textContent: sample.dataset.caption }));
      seen.observe(button);
      button.addEventListener("click", () => turn(shown.indexOf(sample)));
      return [sample, button];
    }));

    function show(position) {
      current = Math.max(0, Math.min(position, shown.length - 1));
      for (const sample of samples) {
        const here = sample === shown[current];
        sample.hidden = !here;
        thumbOf.get(sample).setAttribute("aria-current", String(here));
      }
      place.textContent = shown.length ? `${current + 1} of ${shown.length}` : "no sample";
      previous.disabled = current <= 0;
      next.disabled = current >= shown.length - 1;
      const thumb = shown.length ? thumbOf.get(shown[current]) : null;
      if (thumb) thumbs.scrollLeft = thumb.offsetLeft - thumbs.offsetLeft - thumbs.clientWidth / 2 + thumb.clientWidth / 2;
    }

    // By hand: the address then links to the sample.
    function turn(position) {
      show(position);
      if (!shown.length) return;
      history.replaceState(null, "", linkOf(shown[current].dataset.id));
      list?.mark(shown[current].dataset.id, false);
    }

    function choose() {
      const fits = (sample) => (group.value === "" || sample.dataset.group === group.value)
        && (label.value === "" || sample.dataset.labels.split(" ").includes(label.value));
      shown = samples.filter(fits).sort(orders[order.value]);
      thumbs.replaceChildren(...shown.map((sample) => thumbOf.get(sample)));
      show(0);
    }

    function find(id) {
      const sample = byName.get(id);
      if (!sample) return;
      if (!shown.includes(sample)) {
        group.value = "";
        label.value = "";
        choose();
      }
      show(shown.indexOf(sample));
      section.scrollIntoView();
    }

    byId("opacity").addEventListener("input", (event) => section.style.setProperty("--opacity", event.target.value / 100));
    section.addEventListener("change", ({ target }) => {
      if (target.type !== "checkbox") return;
      for (const layer of target.closest(".sample").querySelectorAll("[data-label]")) {
        if (layer.dataset.label === target.value) layer.hidden = !target.checked;
      }
    });
    for (const control of [group, label, order]) control.addEventListener("change", choose);
    previous.addEventListener("click", () => turn(current - 1));
    next.addEventListener("click", () => turn(current + 1));
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, [tabindex]")) return;
      const moves = { ArrowLeft: -1, ArrowRight: 1, k: -1, j: 1 };
      const goal = { Home: 0, End: shown.length - 1 };
      if (event.key in moves) turn(current + moves[event.key]);
      else if (event.key in goal && section.matches(":hover, :focus-within")) turn(goal[event.key]);
    });
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.addEventListener("click", () => {
        group.value = "";
        label.value = button.dataset.filter;
        choose();
        section.scrollIntoView();
      });
    }
    choose();
    return { has: (id) => byName.has(id), find };
  }
})();
