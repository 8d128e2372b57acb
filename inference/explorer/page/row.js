// The view "Row": a form with a field for each column, and what each run says of the row.

import { ask, latest, posted } from "./server.js";
import { classChoice, panel } from "./elements.js";
import { VectorAnswer } from "./vectors.js";

const form = document.getElementById("row-form");
const complaint = document.getElementById("row-complaint");

export function start(world) {
  const fields = world.columns.map((column, number) => field(column, number));
  form.append(...fields.flatMap((each) => each.elements));
  const panels = world.runs.map((run, number) => new RowPanel(world, run, number, () => chosen(), fill));
  const best = [{ value: "best", name: "most probable class" }];
  const chosen = classChoice(
    document.getElementById("row-class"), world, best, () => panels.forEach((each) => each.showClass()), true,
  );
  document.querySelector("#row .panels").append(...panels.map((each) => each.element));

  const changed = () => {
    complaint.textContent = fields.map((each) => each.problem(world.takes_missing)).find((sentence) => sentence) ?? "";
    if (complaint.textContent) return;
    const values = fields.map((each) => each.value);
    for (const each of panels) each.refresh(values);
  };
  function fill(values) {
    for (const [number, each] of fields.entries()) each.value = values[number];
    changed();
  }
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("row-medians").addEventListener("click", () => fill(world.columns.map((each) => each.value)));
  let opened = false;
  return () => {
    if (!opened) changed();
    opened = true;
  };
}

class RowPanel {
  constructor(world, run, number, chosenClass, fill) {
    this.world = world;
    this.url = `/api/runs/${number}`;
    this.fill = fill;
    this.element = panel(run);
    this.seed = 0;
    const answer = document.createElement("div");
    const row = document.createElement("div");
    row.className = "row";
    const button = document.createElement("button");
    button.className = "primary sample";
    button.textContent = "Sample a row";
    button.addEventListener("click", () => this.sample());
    row.append(button);
    this.button = button;
    this.note = document.createElement("p");
    this.note.className = "note sampled";
    this.note.setAttribute("role", "status");
    this.element.append(answer, row, this.note);
    this.answer = new VectorAnswer(world, run, answer, chosenClass);
    this.refresh = latest(this.element, (values) => this.update(values));
  }

  async update(values) {
    try {
      this.answer.show(await ask(`${this.url}/row`, posted({ values })));
      this.showClass();
    } catch (error) {
      complaint.textContent = error.message;
    }
  }

  showClass() {
    if (!this.answer.answer) return;
    this.answer.showPosterior();
    this.button.textContent = `Sample a row of class ${this.world.class_names[this.answer.shownClass]}`;
  }

  // Fills the form with a row that the model draws.
  async sample() {
    if (!this.answer.answer) return;
    const y = this.answer.shownClass;
    try {
      const { rows } = await ask(`${this.url}/rows?class=${y}&number=1&seed=${this.seed}`);
      this.seed += 1;
      this.fill(rows[0]);
      this.note.textContent = `The form has a row that was drawn from p(x|y) for y = ${this.world.class_names[y]}.`;
    } catch (error) {
      complaint.textContent = error.message;
    }
  }
}

// The field of a column: a choice of its categories, or a number.
function field({ name, kind, value, categories }, number) {
  const label = document.createElement("label");
  label.htmlFor = `field-${number}`;
  label.textContent = name;
  const input = document.createElement(categories.length ? "select" : "input");
  input.id = label.htmlFor;
  if (categories.length) {
    input.append(...categories.map((category, code) => new Option(category, code)));
  } else {
    input.type = "number";
    input.step = kind === "count" ? 1 : "any";
    if (kind === "count") input.min = 0;
  }
  input.value = value;
  return {
    elements: [label, input],
    get value() {
      return input.value === "" ? null : Number(input.value);
    },
    set value(given) {
      input.value = given;
    },
    problem(takesMissing) {
      if (input.validity.badInput || input.validity.rangeUnderflow || input.validity.stepMismatch) {
        const expected = kind === "count" ? "a whole number of 0 or more" : "a number";
        return `${name}: expected ${expected}; got ${input.value || "another text"}.`;
      }
      if (input.value !== "" || takesMissing) return null;
      return `${name}: expected a value, since this model takes no missing entries; got an empty field.`;
    },
  };
}
