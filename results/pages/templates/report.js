"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = (theme) => { root.dataset.theme = theme; };
  let chosen = null;
  paint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => { if (chosen === null) paint(dark.matches ? "dark" : "light"); });
  document.getElementById("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    paint(chosen);
  });

  const gallery = document.getElementById("gallery");
  const samples = [...document.querySelectorAll(".sample")];
  if (!gallery || samples.length === 0) return;
  const byId = (id) => document.getElementById(id);
  const [group, label, order] = ["group", "class", "order"].map(byId);
  const [previous, next, place, thumbs] = ["previous", "next", "place", "thumbs"].map(byId);
  let shown = samples;
  let current = 0;

  const orders = {
    given: () => 0,
    falling: (a, b) => b.dataset.figure - a.dataset.figure,
    rising: (a, b) => a.dataset.figure - b.dataset.figure,
  };
  const thumbOf = new Map(samples.map((sample) => {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    const caption = document.createElement("span");
    picture.src = sample.querySelector(".trio figure:last-child img").src;
    picture.alt = "";
    caption.textContent = sample.dataset.caption;
    button.type = "button";
    button.title = sample.querySelector("h3").textContent;
    button.setAttribute("aria-label", `${button.title}, ${sample.dataset.caption}`);
    button.append(picture, caption);
    button.addEventListener("click", () => show(shown.indexOf(sample)));
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

  function choose() {
    const fits = (sample) => (group.value === "" || sample.dataset.group === group.value)
      && (label.value === "" || sample.dataset.labels.split(" ").includes(label.value));
    shown = samples.filter(fits).sort(orders[order.value]);
    thumbs.replaceChildren(...shown.map((sample) => thumbOf.get(sample)));
    show(0);
  }

  for (const control of [group, label, order]) control.addEventListener("change", choose);
  previous.addEventListener("click", () => show(current - 1));
  next.addEventListener("click", () => show(current + 1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, k: -1, j: 1 };
    const goal = { Home: 0, End: shown.length - 1 };
    if (event.key in moves) show(current + moves[event.key]);
    else if (event.key in goal && gallery.matches(":hover, :focus-within")) show(goal[event.key]);
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      group.value = "";
      label.value = button.dataset.filter;
      choose();
      gallery.scrollIntoView();
    });
  }
  choose();
})();
