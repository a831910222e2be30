"""The look of the pages: one style sheet for light and dark, wide and narrow, screen and paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f26; --soft: #5b6572; --line: #dfe3e8; --paper: #fff; --panel: #f6f7f9;
  --good: #1d7a58; --bad: #b0423a; --accent: #245fa8; --warn: #8a5a00; --warn-panel: #fdf6e6; --fill: #9dbbe0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b3; --line: #2f353f; --paper: #14171c;
  --panel: #1c2027; --good: #63c39d; --bad: #ec948a; --accent: #84b6f0; --warn: #e5b567; --warn-panel: #262118;
  --fill: #3d5f8c; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 56px; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main, header { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
.skip { position: absolute; left: -999em; } .skip:focus { left: 12px; top: 12px; background: var(--paper); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
h1 { font-size: 32px; line-height: 1.15; margin: 0 0 6px; letter-spacing: -.015em; }
h2 { font-size: 21px; margin: 0 0 4px; letter-spacing: -.01em; }
h3 { font-size: 15.5px; margin: 30px 0 6px; }
section { margin-top: 56px; padding-top: 18px; border-top: 1px solid var(--line); }
p { margin: 4px 0 12px; max-width: 88ch; }
.soft, figcaption { color: var(--soft); }
nav { position: sticky; top: 0; z-index: 1; background: var(--paper); border-bottom: 1px solid var(--line);
  margin-top: 26px; }
nav > div { display: flex; gap: 4px 20px; max-width: 1120px; margin: 0 auto; padding: 10px 24px; font-size: 14px;
  overflow-x: auto; scrollbar-width: none; white-space: nowrap; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 232px), 1fr)); gap: 1px;
  margin: 24px 0 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.tile { padding: 13px 16px 12px; box-shadow: 0 0 0 1px var(--line); }
.tile dt { color: var(--soft); font-size: 12.5px; }
.tile dd { margin: 1px 0 0; font-size: 18px; font-weight: 600; letter-spacing: -.01em; line-height: 1.35; }
.tile small { line-height: 1.4; letter-spacing: 0; }
.warnings { background: var(--warn-panel); border-radius: 10px; padding: 12px 18px; margin: 16px 0 0; font-size: 14px; }
.warnings > summary { color: var(--warn); font-weight: 600; font-size: 14px; }
.warnings ul { margin: 8px 0 4px; padding-left: 18px; } .warnings li { margin: 5px 0; max-width: 100ch; }
.warnings code { color: var(--warn); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 22px 36px;
  margin: 18px 0; }
figure { margin: 0; min-width: 0; }
figure > svg { display: block; width: 100%; height: auto; overflow: visible; }
figure svg text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
figcaption { font-size: 13px; margin-top: 6px; line-height: 1.45; }
.figures > .scroll > table { min-width: 0; width: 100%; margin-top: 0; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 18px 28px; }
.histogram .kept { fill: var(--fill); } .histogram .out { fill: var(--bad); opacity: .75; }
.histogram line { stroke: var(--ink); stroke-width: 1; } .histogram .axis { stroke: var(--line); }
.histogram text { fill: var(--soft); font-size: 11px; } .histogram .limit { fill: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: min(100%, 620px); margin: 12px 0 18px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 26px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; font-size: 13px; color: var(--soft); }
th.number, td.number { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
small { color: var(--soft); font-weight: 400; font-size: 12.5px; display: block; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--panel); padding: 10px 12px; border-radius: 8px; margin: 4px 0; white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: isolate; }
.bar + span { display: inline-block; min-width: 4.4em; text-align: right; }
.again { color: transparent; }
.bar { display: inline-block; width: 92px; height: 9px; background: var(--panel); border-radius: 3px;
  margin-right: 10px; overflow: hidden; vertical-align: middle; }
.bar i { display: block; height: 100%; background: var(--fill); border-radius: 3px; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 14px; }
.sample { border: 1px solid var(--line); border-left: 3px solid var(--bad); border-radius: 8px;
  padding: 10px 14px; min-width: 0; }
.sample.right { border-left-color: var(--good); }
.sample b { color: var(--bad); } .sample.right b, .better { color: var(--good); } .worse { color: var(--bad); }
.better, .worse { font-weight: 600; }
details > summary { cursor: pointer; color: var(--soft); font-size: 13.5px; }
.clusters > details { border-bottom: 1px solid var(--line); padding: 8px 0; }
.clusters > details > summary { color: var(--ink); }
.clusters b { font-variant-numeric: tabular-nums; display: inline-block; min-width: 3.2em; }
.clusters .soft { margin-left: 8px; }
.dag { min-width: 980px; }
.dag text { fill: var(--ink); font-size: 12px; }
.dag .kind { font-weight: 600; fill: var(--soft); }
.dag .subject { font-weight: 600; font-size: 12.5px; }
.dag .key, .dag .seconds { fill: var(--soft); font-size: 10.5px; }
.dag .key { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace !important; }
.dag .seconds { text-anchor: end; }
.dag rect { fill: var(--panel); stroke: var(--line); }
.dag path { fill: none; stroke: var(--soft); stroke-width: 1.1; opacity: .55; }
footer { margin: 56px 0 40px; font-size: 13px; color: var(--soft); }
@media (max-width: 640px) {
  body { font-size: 16px; } main, header { padding: 0 16px; } header { padding-top: 24px; }
  nav > div { padding: 10px 16px; }
  h1 { font-size: 26px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tile { padding: 10px 12px; } .tile dd { font-size: 16px; }
  table, tbody, tr, td { display: block; width: 100%; min-width: 0; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; margin: 0 0 10px; }
  td { border: 0; padding: 3px 0; } td:empty { display: none; }
  td[data-label]:not([data-label=""])::before { content: attr(data-label); display: block; color: var(--soft);
    font-size: 12.5px; }
  td.number { text-align: right; display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: 16px; }
  td.number::before { grid-row: 1 / span 9; justify-self: start; text-align: left; }
  td.number { justify-items: end; } td.number > * { grid-column: 2; }
  td:first-child { font-weight: 600; } td:first-child::before { display: none !important; }
  .again { color: inherit; } .bar { width: 64px; margin: 0; }
  td .bar + span { grid-row: 1; }
}
@media print { nav { position: static; } details > * { display: block; } section { break-inside: avoid-page; } }
"""
