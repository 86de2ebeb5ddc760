"""How a batch's page looks: what it adds to the style of all reports (`html_style.py`)."""

BATCH_STYLE = """
:root { --info: #1f5fa8; --info-panel: #e8f1fb; --other: #7a4f00; --other-panel: #fdf3dc; --chip: #fff;
  --second: #b07a1e; --track: #edf0f3; --over: #f3d9d7; --shadow: 0 1px 2px rgb(20 30 40 / .06); }
@media (prefers-color-scheme: dark) {
  :root { --info: #8fc0f5; --info-panel: #16273a; --other: #f0c26a; --other-panel: #32270f; --chip: #2a0f0d;
    --second: #d9a54a; --track: #262c33; --over: #4a2724; --shadow: none; } }
main { max-width: 1440px; padding-left: 28px; padding-right: 28px; }
a { color: inherit; }
:focus-visible { outline: 2px solid var(--info); outline-offset: 2px; }
header.stopped { background: var(--other-panel); border-color: var(--other); }
.stopped .word { color: var(--other); }

.shares { display: flex; gap: 2px; height: 10px; margin: 16px 0 12px; border-radius: 5px; overflow: hidden; }
.shares i { min-width: 3px; }
.shares .ok { background: var(--good); }
.shares .skipped { background: var(--info); }
.shares .failed, .shares .error { background: var(--bad); }
.shares .error { opacity: .65; }
.shares .planned, .shares .dropped { background: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: 8px; padding: 0; list-style: none; }
.tiles li + li { margin: 0; }
.tiles a { display: block; padding: 3px 14px; border-radius: 16px; text-decoration: none; background: var(--ground);
  border: 1px solid var(--line); }
.tiles a:hover { border-color: currentColor; }
.tiles .ok { color: var(--good); }
.tiles .skipped { color: var(--info); }
.tiles .failed, .tiles .error { color: var(--bad); }
.tiles .planned, .tiles .dropped { color: var(--quiet); }

dl.totals { grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 16px 0 0; }
.totals div { padding: 12px 16px; border: 1px solid var(--line); border-radius: 10px; box-shadow: var(--shadow); }
.totals dt { font-size: 13px; }
.totals dd { color: var(--quiet); font-size: 13px; }
.totals b { display: block; color: var(--text); font-size: 20px; font-weight: 650; line-height: 1.35;
  font-variant-numeric: tabular-nums; }

.failures details { margin-bottom: 10px; border: 1px solid var(--line); border-left: 4px solid var(--bad);
  border-radius: 8px; overflow: hidden; }
.failures .rest { border: 0; border-radius: 0; }
.rest > summary { padding-left: 0; color: var(--quiet); }
.failures summary { padding: 9px 14px; cursor: pointer; overflow-wrap: anywhere; }
.failures pre { border-radius: 0; border-top: 1px solid var(--line); }
.what { color: var(--bad); }
pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre + pre, ul + pre, dl + pre { margin-top: 10px; }

.chip { display: inline-block; padding: 1px 9px; border-radius: 10px; font-size: 12.5px; font-weight: 600;
  white-space: nowrap; }
.chip.ok { color: var(--good); background: var(--good-panel); }
.chip.skipped { color: var(--info); background: var(--info-panel); }
.chip.failed { color: var(--chip); background: var(--bad); }
.chip.error { color: var(--bad); background: var(--bad-panel); }
.chip.planned, .chip.dropped { color: var(--quiet); background: var(--panel); }

.filter { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin-bottom: 12px; }
.filter input { width: 280px; max-width: 62vw; }
.statuses { display: inline-flex; flex-wrap: wrap; gap: 6px; }
.filter button { font: inherit; font-size: 13.5px; padding: 3px 12px; border: 1px solid var(--line);
  border-radius: 15px; background: var(--ground); color: var(--text); cursor: pointer; }
.filter button:hover { border-color: var(--quiet); }
.filter button[aria-pressed="true"] { background: var(--text); border-color: var(--text); color: var(--ground); }
.filter button[hidden] { display: none; }
.filter .reset { border-style: dashed; }

table.items th, table.items td { border-bottom: 0; padding: 8px 14px 2px 0; }
table.items thead th { padding: 8px 14px 8px 0; border-bottom: 2px solid var(--line); white-space: nowrap;
  vertical-align: bottom; }
table.items tbody { border-bottom: 1px solid var(--line); }
table.items tbody:hover { background: var(--panel); }
table.items td:last-child { width: auto; color: inherit; }
table.items tbody th { min-width: 15em; max-width: 26em; font-weight: 600; white-space: normal;
  overflow-wrap: anywhere; padding-left: 8px; }
table.items thead th:first-child { padding-left: 8px; }
table.items tbody th span { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4;
  overflow: hidden; }
table.items .setup { max-width: 15em; color: var(--quiet); }
table.items td { white-space: nowrap; }
table.items td.setup { white-space: normal; }
table.items td div { line-height: 22px; height: 22px; }
table.items td div + div { margin-top: 7px; }
table.items .picture { text-align: left; }
table.items td.picture div { display: flex; align-items: center; gap: 9px; }
thead button { font: inherit; font-weight: 600; color: inherit; padding: 0; border: 0; background: none;
  cursor: pointer; white-space: nowrap; }
thead button:hover { color: var(--text); }
thead button::after { content: "↕"; display: inline-block; width: 1.1em; text-align: right; opacity: .35; }
thead [aria-sort="ascending"] button::after { content: "↑"; opacity: 1; }
thead [aria-sort="descending"] button::after { content: "↓"; opacity: 1; }
thead [aria-sort="ascending"] button, thead [aria-sort="descending"] button { color: var(--text); }

table.items .more td { padding: 0 14px 8px 8px; white-space: normal; color: var(--quiet); }
.more summary { cursor: pointer; font-size: 13px; overflow-wrap: anywhere; width: fit-content; max-width: 100%; }
.more summary:hover { color: var(--text); }
.more details[open] summary { margin-bottom: 8px; }
.more details > dl { padding: 12px 16px; background: var(--panel); border-radius: 8px; color: var(--text);
  font-size: 13.5px; max-width: 1100px; }
tbody:hover .more dl, tbody:hover .more pre { background: var(--ground); }
.more pre { max-width: 1100px; }

svg.proof { display: block; flex: none; width: auto; height: 20px; }
svg .track { fill: var(--track); }
svg .over { fill: var(--over); }
svg .float64, .key.float64 { fill: var(--bar); background: var(--bar); }
svg .float32, .key.float32 { fill: var(--second); background: var(--second); }
svg .failed { fill: var(--bad); }
svg.proof .limit { stroke-width: 1.5; stroke-dasharray: none; }
svg .grid { stroke-width: 1; fill: none; }
svg .count { font-size: 12px; font-weight: 600; }
.picture span { font-size: 12.5px; line-height: 1; font-variant-numeric: tabular-nums; }
.picture .none { color: var(--quiet); }
.legend { margin: 10px 0 0; color: var(--quiet); font-size: 13px; max-width: 110ch; }
.key { display: inline-block; width: 18px; height: 7px; margin-right: 2px; }

@media screen and (max-width: 760px) {
  main { padding-left: 14px; padding-right: 14px; }
  dl.totals { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
  .totals dt { margin: 0; }
  .totals b { font-size: 17px; }
  table.items, .items thead, .items tbody, .items tr, .items th, .items td { display: block; }
  .items [hidden] { display: none; }
  .items thead tr { display: flex; flex-wrap: wrap; gap: 6px; margin-bottom: 12px; }
  table.items thead th { padding: 0; border: 0; }
  .items thead button { padding: 2px 10px; border: 1px solid var(--line); border-radius: 14px; font-size: 13px; }
  table.items tbody { margin-bottom: 12px; padding: 10px 14px; border: 1px solid var(--line); border-radius: 10px; }
  table.items tbody th { min-width: 0; max-width: none; padding: 0 0 4px; font-size: 15px; }
  table.items td { display: grid; grid-template-columns: 7em 1fr; padding: 2px 0; text-align: left; }
  table.items td:not(:has(*)):empty { display: none; }
  table.items td:has(div):not(.picture) { grid-template-columns: 7em 1fr 1fr; }
  table.items td::before { grid-row: 1 / span 3; color: var(--quiet); }
  table.items td > * { justify-self: start; }
  table.items td.picture > * { grid-column: 2; }
  table.items td.setup { max-width: none; color: inherit; }
  table.items td div + div { margin-top: 0; }
  table.items .more td { display: block; padding: 6px 0 0; }
  table.items .more td::before { content: none; }
  .more details > dl { padding: 10px 12px; }
}
@page { size: landscape; margin: 11mm; }
@media print {
  main { padding: 0; max-width: none; }
  section { break-inside: auto; }
  h2 { break-after: avoid; margin-top: 22px; }
  .filter, nav { display: none; }
  thead button::after { content: none; }
  dl.totals { display: grid; grid-template-columns: repeat(7, 1fr); gap: 6px; }
  .totals div { padding: 6px 9px; }
  .totals b { font-size: 14px; }
  .totals dt, .totals dd { font-size: 10px; }
  pre { font-size: 10px; }
  .wide { overflow: visible; }
  table.items { font-size: 9.5px; }
  table.items th, table.items td, table.items thead th { padding-right: 9px; }
  table.items tbody th { min-width: 0; }
  table.items td div { line-height: 14px; height: 14px; }
  table.items td div + div { margin-top: 3px; }
  .chip, .picture span, .more summary, .legend { font-size: 9.5px; }
  svg.proof { height: 12px; }
  tbody, figure, .failures details:not(.rest) { break-inside: avoid; }
  .failures details::details-content { content-visibility: visible; block-size: auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
