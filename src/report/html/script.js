"use strict";
const all = () => document.querySelectorAll("details");
const button = document.getElementById("expand");
button.hidden = false;
button.addEventListener("click", () => {
  const open = button.getAttribute("aria-pressed") !== "true";
  all().forEach((d) => { d.open = open; });
  button.setAttribute("aria-pressed", String(open));
});
let shut = [];
addEventListener("beforeprint", () => { shut = [...all()].filter((d) => !d.open); shut.forEach((d) => { d.open = true; }); });
addEventListener("afterprint", () => { shut.forEach((d) => { d.open = false; }); shut = []; });
