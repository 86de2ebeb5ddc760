"""What makes a batch's table sortable and filterable; the address says what is shown, and can be passed on.

#status=failed,error&text=korean&sort=time&order=descending
"""

SCRIPT = """
const box = document.querySelector(".filter"), input = box.querySelector("input");
const told = box.querySelector("output"), reset = box.querySelector(".reset");
const buttons = [...box.querySelectorAll("[data-status]")];
const table = document.querySelector("table.items"), heads = [...table.tHead.rows[0].cells];
const items = [...table.tBodies], known = new Set(items.map(item => item.dataset.status));
const texts = new Map(), order = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});
let shown = {}, placed = "";

function textOf(item) {
  if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
  return texts.get(item);
}

function keyOf(item, column) {
  const cell = item.rows[0].cells[column], key = cell.dataset.key ?? cell.textContent;
  return cell.dataset.key === undefined ? key : key === "" ? null : Number(key);
}

function sorted() {
  const column = heads.findIndex(head => head.dataset.column === shown.sort);
  if (column < 0) return items;
  const sign = shown.order === "descending" ? -1 : 1;
  const rows = items.map((item, place) => [item, keyOf(item, column), place]);
  rows.sort(([, one, before], [, other, after]) => {
    if (one === null || other === null || one === "" || other === "")
      return (one === null || one === "") - (other === null || other === "") || before - after;
    const difference = typeof one === "number" ? one - other : order.compare(one, other);
    return sign * difference || before - after;
  });
  return rows.map(row => row[0]);
}

function show() {
  const parts = shown.text.toLowerCase().split(",").map(part => part.trim());
  let left = 0;
  for (const item of items) {
    const stays = (!shown.status.size || shown.status.has(item.dataset.status)) &&
      parts.every(part => textOf(item).includes(part));
    item.hidden = !stays;
    left += stays;
  }
  const wanted = shown.sort && `${shown.sort} ${shown.order}`;
  if (wanted !== placed) table.append(...sorted());
  placed = wanted;
  for (const head of heads) {
    head.ariaSort = head.dataset.column !== shown.sort ? "none" : shown.order;
  }
  for (const button of buttons) button.ariaPressed = shown.status.has(button.dataset.status);
  const narrowed = shown.status.size || shown.text;
  reset.hidden = !narrowed && !shown.sort;
  told.textContent = narrowed ? `${left.toLocaleString("en")} of ${items.length.toLocaleString("en")}` : "";
}

function read() {
  const words = new URLSearchParams(location.hash.slice(1)), wanted = (words.get("status") ?? "").split(",");
  shown = {
    status: new Set(wanted.filter(word => known.has(word))),
    text: words.get("text") ?? "",
    sort: heads.some(head => head.dataset.column === words.get("sort")) ? words.get("sort") : "",
    order: words.get("order") === "descending" ? "descending" : "ascending",
  };
  input.value = shown.text;
  show();
}

function write() {
  const words = new URLSearchParams();
  if (shown.status.size) words.set("status", [...shown.status].join(","));
  if (shown.text) words.set("text", shown.text);
  if (shown.sort) { words.set("sort", shown.sort); words.set("order", shown.order); }
  history.replaceState(null, "", "#" + words.toString().replaceAll("%2C", ","));
  show();
}

for (const head of heads) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const name = head.dataset.column, first = head.classList.contains("number") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    if (shown.sort !== name) [shown.sort, shown.order] = [name, first];
    else if (shown.order === first) shown.order = second;
    else [shown.sort, shown.order] = ["", "ascending"];
    write();
  });
}
for (const button of buttons) {
  button.addEventListener("click", () => {
    const word = button.dataset.status;
    if (!shown.status.delete(word)) shown.status.add(word);
    write();
  });
}
input.addEventListener("input", () => { shown.text = input.value; write(); });
reset.addEventListener("click", () => {
  input.value = "";
  shown = {status: new Set(), text: "", sort: "", order: "ascending"};
  write();
});
addEventListener("hashchange", read);
for (const link of document.querySelectorAll(".tiles a")) {
  link.addEventListener("click", () => box.scrollIntoView());
}
box.hidden = false;
read();
"""
