"""How the report looks."""

__all__ = ["STYLE"]

STYLE = """
:root { --ink: #1c2733; --soft: #5b6b7b; --line: #d8dfe6; --good: #1f7a5c; --bad: #b3423a; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 1240px; padding: 0 24px 64px; background: #fff; }
h1 { font-size: 26px; margin: 32px 0 8px; }
h2 { font-size: 20px; margin: 40px 0 6px; border-bottom: 2px solid var(--line); padding-bottom: 4px; }
h3 { font-size: 16px; margin: 18px 0 6px; }
p { margin: 6px 0 10px; max-width: 80ch; }
.banner { display: inline-block; background: #fdf3d7; border: 1px solid #e5cf8a; border-radius: 4px;
  padding: 4px 12px; font-weight: 600; }
.digest { font: 12px/1.6 ui-monospace, monospace; color: var(--soft); overflow-wrap: anywhere;
  max-width: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { vertical-align: bottom; font-weight: 600; color: var(--soft); line-height: 1.25; }
tbody th, thead th:first-child, td.text, .words th, .words td { text-align: left; font-weight: 500; }
tbody th { white-space: nowrap; } .words td { font-weight: 400; }
td b { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: 11.5px; white-space: nowrap; line-height: 1.35; }
td.none { color: var(--soft); }
.sure { color: var(--good); } .unsure { color: var(--bad); }
.flow { display: flex; flex-wrap: wrap; gap: 18px 26px; align-items: flex-start; }
figure { margin: 0; } figcaption { font-weight: 500; margin-bottom: 4px; }
.confusion th, .confusion td { text-align: center; border: 1px solid var(--line); padding: 4px 8px;
  font-size: 13px; }
.confusion tbody th { text-align: right; } .confusion .corner { font-weight: 400; font-size: 12px; }
.confusion .right { background: color-mix(in srgb, #7cc4a4 var(--share), #fff); }
.confusion .wrong { background: color-mix(in srgb, #e58a80 var(--share), #fff); }
.confusion small { color: inherit; opacity: .75; }
.chart { overflow: visible; } .chart text { font-size: 11px; fill: var(--soft); }
.chart .title { font-size: 12px; fill: var(--ink); font-weight: 600; }
.chart .grid { stroke: var(--line); } .chart .diagonal { stroke: var(--soft); stroke-dasharray: 2 4; }
.curve { fill: none; stroke-width: 2; } .curve.model { stroke: var(--blue); }
.curve.baseline { stroke: #c0761b; stroke-dasharray: 5 3; stroke-width: 1.6; }
.chart .legend.model { fill: var(--blue); } .chart .legend.baseline { fill: #a5610f; }
.point { fill: var(--blue); stroke: #fff; stroke-width: 1.5; }
.bin { fill: var(--blue); fill-opacity: .6; stroke: var(--blue); }
.mistake { width: 380px; } .mistake div { display: flex; gap: 4px; background: #000; height: 190px;
  justify-content: center; overflow: hidden; }
.mistake img { height: 190px; max-width: 50%; object-fit: contain; }
.mistake p { color: #fff; align-self: center; }
.mistake figcaption { font-weight: 400; margin-top: 4px; line-height: 1.35; } .mistake small {
  color: var(--soft); }
details { border-bottom: 1px solid var(--line); padding: 6px 0; } summary { cursor: pointer; }
@media print { body { max-width: none; } details { display: none; } }
"""
