"""The look of the pages: one style sheet for light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #667080; --line: #dfe3e8; --paper: #fff; --panel: #f6f7f9;
  --good: #23805f; --bad: #b4483f; --accent: #2f6fb7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #98a2b0; --line: #323842; --paper: #15181d;
  --panel: #1d2128; --good: #63c39d; --bad: #e58a80; --accent: #7fb2ee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main, header { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 52px 0 4px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 26px 0 8px; }
p { margin: 4px 0 12px; max-width: 88ch; }
.soft, figcaption { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 18px 0 0; font-size: 14px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
figure { margin: 14px 0 6px; }
figure > svg { display: block; width: 100%; height: auto; overflow: visible; }
figcaption { font-size: 13px; margin-top: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; min-width: min(100%, 620px); margin: 10px 0 16px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 26px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; font-size: 13px; color: var(--soft); }
th.number, td.number { text-align: right; }
small { color: var(--soft); font-weight: 400; font-size: 12.5px; display: block; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--panel); padding: 10px 12px; border-radius: 6px; overflow-x: auto; margin: 4px 0;
  white-space: pre-wrap; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 14px; }
.sample { border: 1px solid var(--line); border-left: 3px solid var(--bad); border-radius: 6px;
  padding: 10px 14px; min-width: 0; }
.sample.right { border-left-color: var(--good); }
.sample b { color: var(--bad); } .sample.right b { color: var(--good); }
details pre, details small { overflow-wrap: anywhere; }
details > summary { cursor: pointer; color: var(--soft); font-size: 13px; }
.dag text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.dag .kind { font-weight: 600; fill: var(--soft); }
.dag .subject { font-weight: 600; font-size: 12.5px; }
.dag .key, .dag .seconds { fill: var(--soft); font: 10.5px ui-monospace, Menlo, Consolas, monospace; }
.dag .seconds { text-anchor: end; }
.dag rect { fill: var(--panel); stroke: var(--line); }
.dag path { fill: none; stroke: var(--soft); stroke-width: 1.1; opacity: .55; }
footer { margin: 56px 0 40px; font-size: 13px; color: var(--soft); }
"""
