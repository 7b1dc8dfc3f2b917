"use strict";
// Sorting and filtering of tables; names and groups of points. Without it the page shows the same content.
(() => {
  const MIN_FILTERED = 10;
  const NUMBER = /^(?:[<>≤≥]\s*)?([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i;
  const collator = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  function numberOf(text) {
    const match = NUMBER.exec(text);
    return match === null ? NaN : Number(match[1].replaceAll(",", ""));
  }

  // Undefined cells come last in both directions.
  function compare(a, b, isNumber, sign) {
    const undefinedA = isNumber ? Number.isNaN(numberOf(a)) : a === "";
    const undefinedB = isNumber ? Number.isNaN(numberOf(b)) : b === "";
    if (undefinedA || undefinedB) return undefinedA - undefinedB;
    return sign * (isNumber ? numberOf(a) - numberOf(b) : collator.compare(a, b));
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const isNumber = head.classList.contains("number");
      const button = make("button", {type: "button", textContent: head.textContent, title: "Sort"});
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers start with the largest, text with A.
        const now = head.getAttribute("aria-sort");
        const isDescending = now === null ? isNumber : now === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
        const rows = [...body.rows].map((row, i) => [row, row.cells[column].textContent.trim(), i]);
        rows.sort((a, b) => compare(a[1], b[1], isNumber, isDescending ? -1 : 1) || a[2] - b[2]);
        body.append(...rows.map(([row]) => row));
      });
    });
  }

  function makeFilterable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < MIN_FILTERED) return;
    const bar = make("div", {className: "filter"});
    const label = make("label", {textContent: "Filter "});
    const input = make("input", {type: "search", placeholder: "words"});
    const status = make("span");
    status.setAttribute("role", "status");
    const texts = rows.map(row => row.textContent.toLowerCase());
    const noun = table.dataset.rows;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every(word => texts[i].includes(word));
        count += !row.hidden;
      });
      status.textContent = words.length ? `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} ${noun}` : "";
    });
    label.append(input);
    bar.append(label, status);
    table.closest(".wide").before(bar);
  }

  function makeHoverable(figure) {
    const drawing = figure.querySelector(".drawing");
    const tip = make("div", {className: "tip", hidden: true});
    let active = null;
    figure.append(tip);
    // The tip takes the place of the browser's own, which comes late.
    const titles = new Map([...drawing.querySelectorAll(".point")].map(point => {
      const title = point.querySelector("title");
      title.remove();
      point.setAttribute("aria-label", title.textContent);
      return [point, title.textContent];
    }));
    const show = event => {
      const point = event.target.closest(".point");
      if (active !== null) active.classList.remove("active");
      active = point !== null && !point.classList.contains("faded") ? point : null;
      tip.hidden = active === null;
      if (active === null) return;
      active.classList.add("active");
      tip.textContent = titles.get(active);
      const frame = figure.getBoundingClientRect(), box = active.getBoundingClientRect();
      const left = Math.min(box.right - frame.left + 4, frame.width - tip.offsetWidth);
      tip.style.left = `${Math.max(left, 0)}px`;
      tip.style.top = `${box.top - frame.top - tip.offsetHeight - 4}px`;
    };
    drawing.addEventListener("pointerover", show);
    drawing.addEventListener("pointerdown", show);
    drawing.addEventListener("pointerleave", show);
  }

  function makeSelectable(figure) {
    const points = [...figure.querySelectorAll(".point")];
    const buttons = [...figure.querySelectorAll(".legend li[data-group]")].map(entry => {
      const button = make("button", {type: "button", title: "Select"});
      button.append(...entry.childNodes);
      button.dataset.group = entry.dataset.group;
      button.setAttribute("aria-pressed", "false");
      entry.append(button);
      return button;
    });
    buttons.forEach(button => button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      const chosen = new Set(buttons.filter(b => b.getAttribute("aria-pressed") === "true").map(b => b.dataset.group));
      points.forEach(point => point.classList.toggle("faded", chosen.size > 0 && !chosen.has(point.dataset.group)));
    }));
  }

  document.querySelectorAll("table.data").forEach(table => {
    makeSortable(table);
    makeFilterable(table);
  });
  document.querySelectorAll("figure.scatter").forEach(figure => {
    makeHoverable(figure);
    makeSelectable(figure);
  });
})();
