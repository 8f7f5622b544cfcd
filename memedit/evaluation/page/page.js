"use strict";
// The page is whole without this: it adds sorting by a column, hiding methods, and searching the cases.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  for (const head of all("table.sortable thead tr:last-child th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const body = head.closest("table").tBodies[0];
      const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent.trim();
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === "");  // what was not measured comes last, either way
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return falling ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  }

  const search = document.getElementById("search");
  const show = () => {
    const hidden = new Set(all("[data-hides]").filter((box) => !box.checked).map((box) => box.dataset.hides));
    const words = (search?.value ?? "").trim().toLowerCase();
    for (const part of all("[data-method]")) {
      const gone = hidden.has("method " + part.dataset.method) || hidden.has("over " + part.dataset.over);
      part.hidden = gone || (part.matches(".case") && words !== "" && !part.textContent.toLowerCase().includes(words));
    }
    const count = document.getElementById("count");
    if (count) count.textContent = all(".case:not([hidden])").length + " shown";
  };
  for (const box of all("[data-hides]")) box.addEventListener("change", show);
  search?.addEventListener("input", show);
  for (const part of all(".needs-script")) part.hidden = false;
  show();
})();
