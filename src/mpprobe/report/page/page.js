"use strict";
(() => {
  // The theme: the reader's own setting until the button is used.
  const button = document.getElementById("theme");
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const show = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  show();

  // Tables: sorted by a heading, filtered by words that a row must hold.
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const scroll = table.parentElement;
    const filter = scroll.previousElementSibling;
    const count = filter.querySelector("output");
    const words = filter.querySelector("input");
    const refresh = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${rows.length}`;
    };
    words.addEventListener("input", refresh);
    refresh();
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        const numeric = heading.classList.contains("number");
        const key = (row) => {
          const cell = row.cells[column];
          if (!numeric) return cell.textContent;
          return cell.dataset.order === "" ? NaN : Number(cell.dataset.order);
        };
        const least = (a, b) => (numeric ? a - b : a.localeCompare(b));
        body.append(...[...rows].sort((one, other) => {
          const a = key(one), b = key(other);
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
          return up ? least(a, b) : least(b, a);
        }));
      });
    });
  }

  // Structures: drawn when they come into view, since each needs a graphics context.
  const KINDS = { decoded: "decoded", residual: "decoded less true", true: "true", value: "value" };
  const open = [];
  // For readers of the page's own script, such as its tests.
  window.mpprobe = { viewers: open };

  const unique = (values) => [...new Set(values)];

  class Viewer {
    constructor(article) {
      this.article = article;
      this.number = article.id.slice("viewer-".length);
      const data = JSON.parse(article.querySelector("script.data").textContent);
      Object.assign(this, data);
      for (const property of Object.values(this.dataset.properties)) {
        property.values = property.values.map((value) => (value === null ? NaN : value));
      }
      this.select = {};
      for (const select of article.querySelectorAll("select")) {
        this.select[select.dataset.choose] = select;
        select.addEventListener("change", () => this.changed(select.dataset.choose));
      }
    }

    async open() {
      const ids = {};
      for (const part of ["map", "structure", "info", "meta"]) ids[part] = `${part}-${this.number}`;
      this.fill("target", unique(this.columns.map((column) => column.target)));
      this.fillRest();
      if (this.start !== null) this.select.layer.value = String(this.start);
      this.fillRest();
      this.dataset.settings = { target: "atom", map: this.mapSettings() };
      this.visualizer = await Chemiscope.DefaultVisualizer.load(ids, this.dataset);
      this.listen();
      this.apply();
      this.chosen(0);
    }

    fill(name, values, text = String) {
      const select = this.select[name];
      const before = select.value;
      select.replaceChildren(...values.map((value) => new Option(text(value), String(value))));
      if (values.map(String).includes(before)) select.value = before;
      select.parentElement.hidden = values.length < 2;
    }

    // The columns that are left once the choices named are made.
    left(...names) {
      return this.columns.filter((column) =>
        names.every((name) => column.layer === null && name !== "target"
          ? true : String(column[name]) === this.select[name].value));
    }

    fillRest() {
      const own = this.left("target");
      this.fill("split", unique(own.map((column) => column.split).filter(Boolean)));
      const layers = own.map((column) => column.layer).filter((layer) => layer !== null);
      this.fill("layer", unique(layers));
      const kinds = unique(own.map((column) => column.kind));
      kinds.sort((a, b) => Object.keys(KINDS).indexOf(a) - Object.keys(KINDS).indexOf(b));
      this.fill("kind", kinds, (kind) => KINDS[kind]);
      const maps = [];
      if (this.maps[this.select.layer.value]) maps.push("hidden");
      if (kinds.includes("decoded")) maps.push("parity");
      this.fill("map", maps, (map) => (map === "hidden" ? "hidden states" : "decoded against true"));
      const arrows = this.arrows.filter((arrow) =>
        arrow.layer === null || (String(arrow.layer) === this.select.layer.value
          && arrow.split === this.select.split.value));
      this.fill("arrows", ["none", ...arrows.map((arrow) => arrow.name)]);
    }

    column(kind) {
      return this.left("target", "split", "layer").find((column) => column.kind === kind);
    }

    mapSettings() {
      const color = { property: this.column(this.select.kind.value).name };
      let axes = this.maps[this.select.layer.value];
      if (this.select.map.value === "parity") {
        axes = [this.column("true").name, this.column("decoded").name];
      }
      if (!axes) {
        const names = this.columns.map((column) => column.name);
        axes = [names[0], names[1] || "atom"];
      }
      return {
        x: { property: axes[0] }, y: { property: axes[1] }, z: { property: "" },
        color, palette: this.palette().palette, size: { factor: 35 },
      };
    }

    // Differences are shown about zero, everything else over its own range.
    palette() {
      const column = this.column(this.select.kind.value);
      const values = this.dataset.properties[column.name].values.filter(Number.isFinite);
      if (column.kind === "residual") {
        const sizes = values.map(Math.abs).sort((a, b) => a - b);
        const most = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;
        return { palette: "bwr", min: -most, max: most };
      }
      let min = Infinity, max = -Infinity;
      for (const value of values) { min = Math.min(min, value); max = Math.max(max, value); }
      return { palette: "viridis", min, max };
    }

    changed(name) {
      if (["target", "split", "layer"].includes(name)) this.fillRest();
      this.apply();
      this.chosen(this.environment);
    }

    apply() {
      const map = this.mapSettings();
      const range = this.palette();
      const arrows = this.select.arrows.value;
      map.color = { ...map.color, min: range.min, max: range.max };
      this.visualizer.applySettings({
        map,
        structure: [{
          environments: { activated: false },
          atoms: true, bonds: false, unitCell: true, supercell: [1, 1, 1],
          shape: arrows === "none" || !arrows ? "" : arrows,
          color: { property: map.color.property, min: range.min, max: range.max,
                   palette: range.palette, transform: "linear" },
        }],
      });
    }

    listen() {
      const { map, structure, info } = this.visualizer;
      for (const [part, name] of [[map, "onselect"], [structure, "onselect"], [info, "onchange"]]) {
        const own = part[name];
        part[name] = (indexes) => {
          own(indexes);
          this.chosen(indexes.environment);
          for (const other of open) {
            if (other !== this && other.article.dataset.structures === this.article.dataset.structures) {
              other.visualizer.select(indexes);
              other.chosen(indexes.environment);
            }
          }
        };
      }
    }

    chosen(environment) {
      this.environment = environment;
      const values = this.dataset.properties;
      const at = (name) => values[name].values[environment];
      const number = (name) => (Number.isFinite(at(name)) ? at(name).toPrecision(3).replace("-", "\u2212") : "not tested");
      const said = unique(["true", "decoded", "value"].map((kind) => this.column(kind)))
        .filter(Boolean).map((column) => {
          const unit = values[column.name].units || "";
          return `${KINDS[column.kind]} ${number(column.name)} ${unit}`.trim();
        });
      this.article.querySelector(".chosen").textContent =
        `Atom ${at("atom")} (${at("species")}) of structure ${at("structure")}, ${at("domain")}: ` +
        `${this.select.target.value} ${said.join(", ")}`;
    }
  }

  const opening = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      opening.unobserve(entry.target);
      const viewer = new Viewer(entry.target);
      viewer.open().then(() => {
        open.push(viewer);
        entry.target.dataset.ready = "";
      }).catch((error) => {
        console.error(error);
        entry.target.querySelector(".chosen").textContent = `Structures can't be drawn: ${error.message}`;
      });
    }
  }, { rootMargin: "200px" });
  for (const article of document.querySelectorAll(".viewer")) opening.observe(article);
})();
