"""How the matrix's page looks, and the few lines that open a cell and hide what is proven."""

STYLE = """
:root { --bg: #fbfaf8; --card: #fff; --text: #1d2126; --dim: #626b76; --line: #e3e0da; --soft: #f3f1ec;
  --ok: #1a7f4b; --ok-bg: #e6f4ec; --bad: #c0262d; --bad-bg: #fde9e8; --open: #8a6100; --open-bg: #fdf3d9;
  --ink: #fff; --shadow: 0 1px 2px #0000000d, 0 4px 16px #0000000a; color-scheme: light dark }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --card: #1b1f25; --text: #e6e8eb; --dim: #98a2ae;
  --line: #2c323a; --soft: #20252c; --ok: #4cc38a; --ok-bg: #15301f; --bad: #ff6b6b; --bad-bg: #3b1719;
  --open: #e5b94e; --open-bg: #33290f; --ink: #14171b; --shadow: none } }
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI",
  sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.02em }
h2 { font-size: 17px; margin: 0 0 10px }
h3 { font-size: 13px; margin: 18px 0 6px; color: var(--dim); font-weight: 600 }
.lead { margin: 0 0 20px; color: var(--dim); max-width: 62ch }
ul { list-style: none; margin: 0; padding: 0 }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .88em }
.shape { width: 1em; height: 1em; flex: none; vertical-align: -.12em }
.shape.proven .fill { fill: var(--ok) } .shape.broken .fill { fill: var(--bad) }
.shape .ink { fill: none; stroke: var(--ink); stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.shape .ring { fill: none; stroke: var(--open); stroke-width: 2; stroke-dasharray: 3.2 2.4 }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin-bottom: 12px }
.tile { display: flex; align-items: center; gap: 8px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 10px 16px; box-shadow: var(--shadow) }
.tile b { font-size: 24px; line-height: 1; font-variant-numeric: tabular-nums } .tile .shape { font-size:
  18px }
.tile span { color: var(--dim) }
.bar { display: flex; gap: 2px; height: 8px; border-radius: 4px; overflow: hidden; margin-bottom: 12px }
.bar .proven { background: var(--ok) } .bar .broken { background: var(--bad) } .bar .unproven { background:
  var(--open) }
.facts { display: flex; flex-wrap: wrap; gap: 2px 18px; color: var(--dim); font-size: 13px }
.problems { margin-top: 20px; padding: 14px 18px; border: 1px solid var(--bad); border-radius: 10px;
  background: var(--bad-bg); overflow-wrap: anywhere }
.legend { margin: 24px 0 0; border: 1px solid var(--line); border-radius: 10px; background: var(--card) }
.legend summary { cursor: pointer; padding: 10px 16px; font-weight: 600 }
.legend > div { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 0 28px;
  padding: 0 16px 14px }
.legend h3 { margin-top: 4px } .legend dl { margin: 0 } .legend dl div { margin-bottom: 5px }
.legend dt { font-weight: 600; font-size: 14px } .legend dd { margin: 0; color: var(--dim); font-size: 13px }
.filter { display: flex; gap: 6px; margin: 16px 0 0 }
.filter button { font: inherit; font-size: 13px; color: var(--dim); background: none; border: 1px solid
  var(--line);
  border-radius: 99px; padding: 4px 12px; cursor: pointer }
.filter button[aria-pressed=true] { color: var(--text); background: var(--card); border-color: var(--dim) }
.group { margin-top: 28px } .group table { table-layout: fixed; min-width: 860px } .name { width: 30% }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  box-shadow: var(--shadow) }
table { border-collapse: collapse; width: 100% }
.group th, .group td { padding: 5px 6px; text-align: left; vertical-align: middle; border-top: 1px solid
  var(--line) }
.group thead th, .group thead td { border-top: 0; background: var(--soft); font-size: 12.5px; color:
  var(--dim);
  font-weight: 600; white-space: nowrap; padding: 7px 8px }
.group tbody th { font-weight: 400; padding-left: 14px; background: var(--card);
  position: sticky; left: 0 }
.group tbody th b { display: block; font-weight: 600 }
.group tbody th small { display: block; color: var(--dim); font-size: 12.5px; line-height: 1.35; text-wrap:
  pretty }
.box { display: flex; align-items: center; gap: 6px; width: 100%; min-height: 34px; font:
  inherit;
  font-size: 13px; text-align: left; color: var(--text); border: 1px solid transparent; border-radius: 7px;
  padding: 5px 8px; cursor: pointer; white-space: nowrap }
.box.proven { background: var(--ok-bg) } .box.broken { background: var(--bad-bg); border-color: var(--bad);
  font-weight: 600 }
.box.unproven { background: var(--open-bg); border: 1px dashed var(--open) }
.box small { display: block; white-space: normal; overflow-wrap: anywhere; color: var(--dim); font-size:
  11.5px; font-weight: 400; line-height: 1.2 }
.others .box + .box { margin-top: 4px }
.box:hover { filter: brightness(.97) } .box .shape { font-size: 15px }
:focus-visible { outline: 2px solid var(--text); outline-offset: 2px }
body.open tr[data-open="0"] { display: none } body.open .group:not(:has(tr[data-open="1"])) { display: none }
.starts { margin-top: 32px } .starts table { width: auto; font-size: 13px } .starts th { text-align: left;
  font-weight: 400 }
.starts thead th { color: var(--dim); text-align: right } .starts td, .starts th { padding: 2px 14px 2px 0 }
.starts td { text-align: right; font-variant-numeric: tabular-nums } .starts td:nth-child(2) { width: 160px }
.starts i { display: block; height: 6px; border-radius: 3px; background: var(--dim) }
dialog { width: min(640px, calc(100vw - 24px)); max-height: calc(100dvh - 48px); overflow: auto; color:
  var(--text);
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 22px 24px;
  box-shadow: 0 12px 48px #00000040 }
dialog::backdrop { background: #0006 }
dialog h2 { font-size: 20px; margin: 0 40px 2px 0 } dialog p { margin: 8px 0 }
dialog form button { float: right; font-size: 22px; line-height: 1; width: 36px; height: 36px; border: 0;
  border-radius: 8px;
  color: var(--dim); background: none; cursor: pointer }
.where { color: var(--dim); font-size: 13px }
.reason { background: var(--soft); border-radius: 8px; padding: 10px 12px; white-space: pre-wrap;
  overflow-wrap: anywhere;
  max-height: 220px; overflow: auto }
.checks li { display: flex; gap: 9px; padding: 6px 0; border-top: 1px solid var(--line) } .checks
  li:first-child { border: 0 }
.checks .shape { margin-top: .25em } .checks small { display: block; color: var(--dim); overflow-wrap:
  anywhere }
.links a { display: inline-block; margin: 0 14px 6px 0; color: inherit }
@media (max-width: 640px) {
  main { padding: 20px 12px 48px } h1 { font-size: 25px } .tile { padding: 8px 12px } .tile b { font-size:
  20px }
  .scroll { overflow: visible } .group table { min-width: 0 } .group table, .group tbody, .group tr {
  display: block } .group thead {
  display: none }
  .group tr { border-top: 1px solid var(--line); padding: 10px 10px 12px; display: grid; gap: 6px;
    grid-template-columns: repeat(auto-fill, minmax(142px, 1fr)) }
  .group tr:first-child { border-top: 0 } .group tbody th { position: static; grid-column: 1 / -1; width:
  auto; padding: 0 2px }
  .group th, .group td { border: 0; padding: 0 } .group td.none { display: none }
  .group td::before { content: attr(data-column); display: block; font-size: 11.5px; color: var(--dim);
  padding: 0 2px 1px }
  body.open tr[data-open="0"] { display: none }
  .starts td:nth-child(2) { display: none }
}
@media print { .filter, .legend { display: none } .scroll { box-shadow: none } }
"""

SCRIPT = """
const dialog = document.getElementById("cell");
document.addEventListener("click", event => {
  const box = event.target.closest("[data-cell]"), show = event.target.closest("[data-show]");
  if (box) open(box.dataset.cell);
  if (show) {
    document.body.classList.toggle("open", show.dataset.show === "open");
    for (const b of document.querySelectorAll("[data-show]")) b.setAttribute("aria-pressed", b === show);
  }
  if (event.target === dialog) dialog.close();
});
function open(name) {
  const what = document.getElementById(name);
  if (!what || what.tagName !== "TEMPLATE") return;
  dialog.replaceChildren(what.content.cloneNode(true));
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", "#" + encodeURIComponent(name));
}
dialog.addEventListener("close", () => history.replaceState(null, "", " "));
if (location.hash.length > 1) open(decodeURIComponent(location.hash.slice(1)));
"""
