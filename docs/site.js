// What the theme leaves without a name or out of reach of the keyboard.
addEventListener("load", () => {
  document.querySelector(".md-search").ariaLabel = "Search";
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => nav.ariaLabel = `Code ${place + 1}`);
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => table.tabIndex = 0);
});
