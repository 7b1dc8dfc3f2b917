"use strict";
// Interactive network: search, filter, drag, export. All data is embedded in the page.
(() => {
  const data = JSON.parse(document.getElementById("network-data").textContent);
  const root = document.getElementById("network");
  const canvas = root.querySelector("canvas");
  const context = canvas.getContext("2d");
  const details = root.querySelector(".details");
  const status = root.querySelector(".status");
  const search = root.querySelector(".search");
  const byClass = root.querySelector(".class");
  const least = root.querySelector(".least");
  const colourBy = root.querySelector(".colour");
  const nodes = data.nodes;
  const edges = data.edges;
  const byId = new Map(nodes.map((node, i) => [node.id, i]));
  const neighbours = nodes.map(() => []);
  edges.forEach((edge, i) => {
    neighbours[edge.s].push(i);
    neighbours[edge.t].push(i);
  });
  const view = {x: 0, y: 0, scale: 1};
  let width = 0;
  let height = 0;
  let selected = -1;
  let hovered = -1;
  let matches = new Set();
  let shownEdges = [];
  let shownNodes = [];
  let pending = false;

  const radius = node => 3 + 2.2 * Math.sqrt(node.n_genomes);
  const classOf = counts => Object.keys(counts).sort((a, b) => counts[b] - counts[a] || (a < b ? -1 : 1))[0];
  const colourOf = node => colourBy.value === "class"
    ? data.class_colours[classOf(node.classes)] || data.rest_colour
    : data.colours[node.community] || data.rest_colour;
  const count = (n, singular, plural) => `${n.toLocaleString("en")} ${n === 1 ? singular : plural}`;

  function filter() {
    const name = byClass.value;
    const n = Number(least.value);
    root.querySelector(".least-value").textContent = String(n);
    shownEdges = edges.filter(edge => (name === "" ? edge.n_genomes : edge.classes[name] || 0) >= n);
    const visible = new Set();
    shownEdges.forEach(edge => visible.add(edge.s).add(edge.t));
    shownNodes = [...visible].sort((a, b) => a - b);
    const words = search.value.trim().toLowerCase();
    matches = new Set(words === "" ? [] : shownNodes.filter(i =>
      nodes[i].id.toLowerCase().includes(words) || nodes[i].annotation.toLowerCase().includes(words)));
    if (selected >= 0 && !visible.has(selected)) select(-1);
    const matchCount = words === "" ? "" : `, ${count(matches.size, "match", "matches")}`;
    status.textContent = `${count(shownNodes.length, "node", "nodes")}, ${count(shownEdges.length, "edge", "edges")}${matchCount}`;
    draw();
  }

  function draw() {
    if (!pending) {
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        paint(context, Math.min(window.devicePixelRatio || 1, 2));
      });
    }
  }

  function near() {
    if (selected < 0) return null;
    const set = new Set([selected]);
    shownEdges.forEach(edge => {
      if (edge.s === selected) set.add(edge.t);
      if (edge.t === selected) set.add(edge.s);
    });
    return set;
  }

  function paint(pen, ratio) {
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.translate(view.x, view.y);
    pen.scale(view.scale, view.scale);
    const around = near();
    const plain = [];
    const strong = [];
    shownEdges.forEach(edge => {
      (around && (edge.s === selected || edge.t === selected) ? strong : plain).push(edge);
    });
    [[plain, "#8a94a0", around || matches.size ? 0.18 : 0.5], [strong, "#222222", 0.9]].forEach(([set, colour, alpha]) => {
      pen.strokeStyle = colour;
      pen.globalAlpha = alpha;
      // One path per line width, so that thousands of lines draw quickly.
      const widths = new Map();
      set.forEach(edge => {
        const w = Math.min(1 + Math.floor(Math.log2(edge.n_genomes)), 6);
        if (!widths.has(w)) widths.set(w, []);
        widths.get(w).push(edge);
      });
      widths.forEach((lines, w) => {
        pen.lineWidth = w * 0.7;
        pen.beginPath();
        lines.forEach(edge => {
          pen.moveTo(nodes[edge.s].x, nodes[edge.s].y);
          pen.lineTo(nodes[edge.t].x, nodes[edge.t].y);
        });
        pen.stroke();
      });
    });
    shownNodes.forEach(i => {
      const node = nodes[i];
      const faded = (around && !around.has(i)) || (matches.size && !matches.has(i) && i !== selected);
      pen.globalAlpha = faded ? 0.25 : 1;
      pen.fillStyle = colourOf(node);
      pen.beginPath();
      pen.arc(node.x, node.y, radius(node), 0, 2 * Math.PI);
      pen.fill();
      if (i === selected || i === hovered || matches.has(i)) {
        pen.lineWidth = 2 / view.scale;
        pen.strokeStyle = "#000000";
        pen.stroke();
      }
    });
    pen.globalAlpha = 1;
    pen.fillStyle = "#111111";
    pen.textAlign = "center";
    const size = 11 / view.scale;
    pen.font = `${size}px system-ui, sans-serif`;
    labelled(around).forEach(i => pen.fillText(title(nodes[i]), nodes[i].x, nodes[i].y - radius(nodes[i]) - 3 / view.scale));
  }

  function title(node) {
    const text = node.annotation || node.id;
    return text.length > 34 ? `${text.slice(0, 33)}…` : text;
  }

  // Nodes to label: hovered, selected, matches, or hubs, without overlapping labels.
  function labelled(around) {
    const wanted = [];
    if (hovered >= 0) wanted.push(hovered);
    if (selected >= 0) wanted.push(selected, ...[...around].filter(i => i !== selected).slice(0, 30));
    [...matches].slice(0, 30).forEach(i => wanted.push(i));
    if (!around && !matches.size) wanted.push(...data.hubs.filter(i => shownNodes.includes(i)));
    const boxes = [];
    return [...new Set(wanted)].filter(i => {
      const node = nodes[i];
      const half = title(node).length * 3.1;
      const x = node.x * view.scale + view.x;
      const y = (node.y - radius(node)) * view.scale + view.y - 8;
      const box = [x - half, y - 6, x + half, y + 6];
      if (boxes.some(b => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) return false;
      boxes.push(box);
      return true;
    });
  }

  function fit() {
    if (!shownNodes.length) return;
    const xs = shownNodes.map(i => nodes[i].x);
    const ys = shownNodes.map(i => nodes[i].y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    view.scale = Math.min((width - 80) / Math.max(right - left, 1), (height - 80) / Math.max(bottom - top, 1), 3);
    view.x = width / 2 - view.scale * (left + right) / 2;
    view.y = height / 2 - view.scale * (top + bottom) / 2;
    draw();
  }

  function resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    draw();
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - view.x) / view.scale;
    const y = (event.clientY - box.top - view.y) / view.scale;
    let best = -1;
    let nearest = Infinity;
    shownNodes.forEach(i => {
      const distance = Math.hypot(nodes[i].x - x, nodes[i].y - y) - radius(nodes[i]);
      if (distance < 4 / view.scale && distance < nearest) {
        best = i;
        nearest = distance;
      }
    });
    return {x, y, node: best};
  }

  function element(tag, text, parent) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function classes(counts) {
    return Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${n}`).join(", ");
  }

  function select(i) {
    selected = i;
    details.replaceChildren();
    if (i < 0) {
      element("p", "Click a node to see its genes, annotations and partners.", details);
      draw();
      return;
    }
    const node = nodes[i];
    element("h3", node.annotation || node.id, details);
    const list = element("dl", undefined, details);
    [["name", node.id], ["annotation", node.annotation || "none"], ["genes", node.n_genes.toLocaleString("en")],
     ["genomes", `${node.n_genomes} (${classes(node.classes)})`], ["partners", String(node.degree)],
     ["community", String(node.community)]].forEach(([name, value]) => {
      element("dt", name, list);
      element("dd", value, list);
    });
    element("h4", "Paired with", details);
    const partners = element("ul", undefined, details);
    neighbours[i].map(e => edges[e]).filter(edge => shownEdges.includes(edge))
      .sort((a, b) => b.n_genomes - a.n_genomes || b.score - a.score).slice(0, 20).forEach(edge => {
        const other = edge.s === i ? edge.t : edge.s;
        const item = element("li", undefined, partners);
        const button = element("button", nodes[other].annotation || nodes[other].id, item);
        button.type = "button";
        button.addEventListener("click", () => select(other));
        const cluster = edge.cluster >= 0 ? `, cluster ${edge.cluster}` : "";
        element("span", ` in ${count(edge.n_genomes, "genome", "genomes")} (${classes(edge.classes)})${cluster}`, item);
        element("small", edge.provenance, item);
      });
    draw();
  }

  let drag = null;
  canvas.addEventListener("pointerdown", event => {
    const target = at(event);
    drag = {node: target.node, x: event.clientX, y: event.clientY, moved: false};
    try { canvas.setPointerCapture(event.pointerId); } catch (error) { /* the pointer is no longer active */ }
  });
  canvas.addEventListener("pointermove", event => {
    if (!drag) {
      const over = at(event).node;
      if (over !== hovered) {
        hovered = over;
        canvas.style.cursor = over >= 0 ? "pointer" : "grab";
        draw();
      }
      return;
    }
    const dx = event.clientX - drag.x;
    const dy = event.clientY - drag.y;
    if (!drag.moved && Math.hypot(dx, dy) < 3) return;
    drag.moved = true;
    if (drag.node >= 0) {
      nodes[drag.node].x += dx / view.scale;
      nodes[drag.node].y += dy / view.scale;
    } else {
      view.x += dx;
      view.y += dy;
    }
    drag.x = event.clientX;
    drag.y = event.clientY;
    draw();
  });
  const release = event => {
    if (drag && !drag.moved && event.type === "pointerup") select(drag.node);
    drag = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, {passive: false});
  canvas.addEventListener("keydown", event => {
    const step = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key];
    if (step) {
      view.x += step[0];
      view.y += step[1];
      draw();
    } else if (event.key === "+" || event.key === "-") {
      zoom(event.key === "+" ? 1.25 : 0.8, width / 2, height / 2);
    } else if (event.key === "Escape") {
      select(-1);
    } else {
      return;
    }
    event.preventDefault();
  });

  function zoom(factor, x, y) {
    const scale = Math.min(Math.max(view.scale * factor, 0.02), 20);
    view.x = x - (x - view.x) * scale / view.scale;
    view.y = y - (y - view.y) * scale / view.scale;
    view.scale = scale;
    draw();
  }

  search.addEventListener("input", filter);
  search.addEventListener("keydown", event => {
    if (event.key === "Enter" && matches.size) {
      const [first] = matches;
      select(first);
      view.scale = Math.max(view.scale, 1);
      view.x = width / 2 - view.scale * nodes[first].x;
      view.y = height / 2 - view.scale * nodes[first].y;
      draw();
    }
  });
  byClass.addEventListener("change", filter);
  least.addEventListener("input", filter);
  colourBy.addEventListener("change", draw);
  root.querySelector(".fit").addEventListener("click", fit);

  function save(name, url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
  }

  // The current view as SVG.
  function svg() {
    const escape = text => text.replace(/[&<>"]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}[c]));
    const number = value => Number(value.toFixed(2));
    const lines = shownEdges.map(edge => {
      const [a, b] = [nodes[edge.s], nodes[edge.t]];
      const w = Math.min(1 + Math.floor(Math.log2(edge.n_genomes)), 6) * 0.7;
      return `<line x1="${number(a.x)}" y1="${number(a.y)}" x2="${number(b.x)}" y2="${number(b.y)}" stroke-width="${w}"/>`;
    });
    const points = shownNodes.map(i => {
      const node = nodes[i];
      return `<circle cx="${number(node.x)}" cy="${number(node.y)}" r="${number(radius(node))}" fill="${colourOf(node)}">` +
        `<title>${escape(node.annotation || node.id)}</title></circle>`;
    });
    const texts = labelled(near()).map(i =>
      `<text x="${number(nodes[i].x)}" y="${number(nodes[i].y - radius(nodes[i]) - 3 / view.scale)}">${escape(title(nodes[i]))}</text>`);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
      `<rect width="100%" height="100%" fill="#ffffff"/>` +
      `<g transform="translate(${number(view.x)} ${number(view.y)}) scale(${view.scale})">` +
      `<g stroke="#8a94a0" stroke-opacity="0.5">${lines.join("")}</g><g>${points.join("")}</g>` +
      `<g font-family="sans-serif" text-anchor="middle" font-size="${number(11 / view.scale)}">${texts.join("")}</g></g></svg>`;
  }
  root.querySelector(".save-svg").addEventListener("click", () =>
    save("network.svg", `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg())}`));
  root.querySelector(".save-png").addEventListener("click", () => {
    const copy = document.createElement("canvas");
    copy.width = 2 * width;
    copy.height = 2 * height;
    const pen = copy.getContext("2d");
    paint(pen, 2);
    pen.globalCompositeOperation = "destination-over";
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, copy.width, copy.height);
    save("network.png", copy.toDataURL("image/png"));
  });
  new ResizeObserver(resize).observe(canvas);
  resize();
  filter();
  fit();
  select(-1);
})();
