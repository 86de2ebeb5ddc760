"""How the HTML report looks, and the few lines that make its filter box work."""

STYLE = """
:root { --ground: #fff; --text: #1c2024; --quiet: #5d6670; --line: #d8dde3; --panel: #f5f7f9;
  --good: #16794c; --good-panel: #e7f5ee; --bad: #b3261e; --bad-panel: #fdeceb; --bar: #4a7fb5; --limit: #1c2024; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181c; --text: #e4e7ea; --quiet: #9aa4ae; --line: #333a42; --panel: #1d2126;
    --good: #5fd39a; --good-panel: #14291f; --bad: #ff8a80; --bad-panel: #351a18; --bar: #6ea3d8; --limit: #e4e7ea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 48px; }
header { padding: 20px 24px; border-radius: 10px; border-left: 8px solid; }
header p { margin: 6px 0 0; max-width: none; }
header .word { margin: 0; font-weight: 700; letter-spacing: .06em; }
header.passed { background: var(--good-panel); border-color: var(--good); }
header.failed { background: var(--bad-panel); border-color: var(--bad); }
.passed .word { color: var(--good); }
.failed .word { color: var(--bad); }
h1 { margin: 2px 0 0; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 36px 0 10px; font-size: 18px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; }
dt { color: var(--quiet); grid-column: 1; }
dd { grid-column: 2; margin: 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; }
li { overflow-wrap: anywhere; }
li + li { margin-top: 6px; }
p { margin: 0 0 12px; max-width: 75ch; }
pre { margin: 0; padding: 12px 16px; background: var(--panel); border-radius: 8px; overflow-x: auto; }
code, td, tbody th, svg text { font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 20px 28px; }
figure { margin: 0; }
figcaption { margin-bottom: 6px; font-weight: 600; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .tick { fill: var(--quiet); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .bar { fill: var(--bar); }
svg .bar.failed { fill: var(--bad); }
svg .limit { fill: none; stroke: var(--limit); stroke-width: 2; stroke-dasharray: 4 3; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 5px 12px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; }
tbody th { font-weight: 400; white-space: nowrap; }
tbody .group th { padding-top: 16px; font-weight: 600; white-space: normal; }
td:last-child { overflow-wrap: anywhere; color: var(--quiet); width: 45%; }
th.number, td.number, td.told { text-align: right; }
td.number { white-space: nowrap; }
td.told { max-width: 15em; }
td.word { color: var(--good); white-space: nowrap; }
tr.failed td.word { color: var(--bad); font-weight: 700; }
.filter input { font: inherit; padding: 4px 10px; width: min(100%, 280px); color: inherit;
  background: var(--ground); border: 1px solid var(--line); border-radius: 6px; }
.filter output { color: var(--quiet); }
[hidden] { display: none; }
@media (max-width: 600px) {
  main { padding: 12px 12px 32px; }
  header { padding: 14px 16px; }
  dl { display: block; }
  dt { margin-top: 8px; }
  table { font-size: 13px; }
  th, td { padding-right: 8px; }
}
@media print { .filter { display: none; } body { font-size: 12px; } section { break-inside: avoid-page; } }
"""

SCRIPT = """
for (const checks of document.querySelectorAll(".checks")) {
  const rows = [...checks.querySelectorAll("tbody tr:not(.group)")];
  const texts = rows.map(row => (row.textContent + " " + row.parentNode.rows[0].textContent).toLowerCase());
  const box = checks.querySelector(".filter"), input = box.querySelector("input"), told = box.querySelector("output");
  box.hidden = false;
  input.addEventListener("input", () => {
    const parts = input.value.toLowerCase().split(",").map(part => part.trim());
    rows.forEach((row, i) => { row.hidden = !parts.every(part => texts[i].includes(part)); });
    for (const group of checks.querySelectorAll("tbody")) {
      group.hidden = ![...group.rows].slice(1).some(row => !row.hidden);
    }
    told.textContent = input.value ? `${rows.filter(row => !row.hidden).length} of ${rows.length}` : "";
  });
}
"""
