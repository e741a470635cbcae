// What the page does without its server: masks shown and hidden, downloads, its address, the last results.
window.car = (() => {
  const MOST = 6;
  let past = [], chosen = -1;

  const masksOf = (element) => [...element.closest(".car").querySelectorAll(".layers div img")];

  document.addEventListener("input", ({target}) => {
    if (!target.closest?.(".switches")) return;
    if (target.type === "range") document.documentElement.style.setProperty("--masks", target.value / 100);
    else {
      const place = [...target.closest(".switches").querySelectorAll("[type=checkbox]")].indexOf(target);
      masksOf(target).at(-1 - place).style.visibility = target.checked ? "" : "hidden";
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#past button"), link = event.target.closest?.(".as-shown");
    chosen = button ? Number(button.dataset.place) : -1;
    if (link) {
      event.preventDefault();
      save(link);
    }
  }, true); // before Gradio asks which result was chosen

  // Gradio shows the examples as pictures only, whenever it is ready; screen readers need names.
  new MutationObserver(() => {
    document.querySelectorAll("#more .gallery-item").forEach((item, place) => item.ariaLabel = `Example ${place + 1}`);
  }).observe(document, {childList: true, subtree: true});

  function save(link) {
    const image = link.closest(".car").querySelector(".layers > img"), size = [image.naturalWidth, image.naturalHeight];
    const [whole, masks] = [0, 1].map(() => Object.assign(document.createElement("canvas"), {width: size[0], height: size[1]}));
    for (const mask of masksOf(link)) {
      if (mask.style.visibility !== "hidden") masks.getContext("2d").drawImage(mask, 0, 0);
    }
    const context = whole.getContext("2d");
    context.drawImage(image, 0, 0);
    context.globalAlpha = getComputedStyle(image.nextElementSibling).opacity;
    context.drawImage(masks, 0, 0);
    Object.assign(document.createElement("a"), {href: whole.toDataURL("image/png"), download: link.download}).click();
  }

  // A new result has the opacity of the last one; on a phone its steps are folded, as they are many screens.
  function settle() {
    const opacity = document.documentElement.style.getPropertyValue("--masks");
    for (const range of document.querySelectorAll(".switches [type=range]")) if (opacity) range.value = 100 * opacity;
    for (const steps of document.querySelectorAll(".recurrence")) steps.open = innerWidth >= 768;
  }

  // all: result, status, picture, phrases and thresholds, as Gradio's components hold them.
  function remember(all) {
    settle();
    if (all[0] && all[0] !== past[0]?.[0]) past = [all, ...past].slice(0, MOST);
    if (past.length < 2) return "";
    const strip = Object.assign(document.createElement("div"), {className: "strip"});
    past.forEach(([html, , , phrases, theta], place) => {
      const button = strip.appendChild(document.createElement("button"));
      const image = button.appendChild(document.createElement("img"));
      const text = button.appendChild(document.createElement("span"));
      [image.src] = html.match(/data:image[^"]+/);
      button.dataset.place = place;
      button.title = image.alt = text.textContent = `${phrases.trim().split(/\s*\n\s*/).join(", ")}; theta ${theta}`;
    });
    return `<p class="faint">Last results</p>${strip.outerHTML}`;
  }

  // The address with the phrases and thresholds, never the picture.
  function address([, , , phrases, ...thresholds]) {
    const query = new URLSearchParams(location.search);
    query.delete("phrase");
    for (const line of phrases.split("\n")) if (line.trim()) query.append("phrase", line.trim());
    ["theta", "eta", "lambda"].forEach((name, place) => query.set(name, thresholds[place]));
    history.replaceState(null, "", `?${query}`);
  }

  return {
    remember,
    settle,
    done(all) {
      address(all);
      return remember(all);
    },
    restored(now) {
      const all = past[chosen] ?? now;
      address(all);
      return all;
    },
    // On a phone the result may start below the end of the screen.
    scroll() {
      if (innerWidth < 768) document.getElementById("found").scrollIntoView({behavior: "smooth", block: "start"});
    },
  };
})();
