"""The look of the page: system fonts, readable at 400 pixels and on paper. Not here: the look of charts (`charts`)."""

STYLE = """
:root { color-scheme: light; --ink: #1b2733; --muted: #5b6b7a; --line: #d8dfe6; --pale: #f5f7f9;
  --go: #1b6b3a; --stop: #b42318; --link: #1f5fa8; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 80px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 4px; }
section { border-top: 1px solid var(--line); margin-top: 40px; padding-top: 20px; scroll-margin-top: 8px; }
p { margin: 8px 0; max-width: 78ch; overflow-wrap: anywhere; }
a { color: var(--link); }
ul { margin: 8px 0; padding-left: 22px; max-width: 78ch; }
li { margin: 4px 0; overflow-wrap: anywhere; }
.finding { font-size: 1.05rem; }
.note, .about { color: var(--muted); font-size: .87rem; }
nav ol { columns: 3 220px; padding-left: 24px; margin: 20px 0 0; font-size: .92rem; }
nav li { break-inside: avoid; margin: 2px 0; }
.verdict { border: 2px solid; border-left-width: 12px; border-radius: 6px; padding: 12px 18px; margin: 16px 0; }
.verdict strong { display: block; font-size: 2.2rem; line-height: 1.2; letter-spacing: .02em; }
.verdict p { margin: 2px 0 0; color: var(--ink); }
.go { color: var(--go); background: #f0f8f3; }
.stop { color: var(--stop); background: #fdf3f2; }
.bad { color: var(--stop); font-weight: 700; }
.good { color: var(--go); font-weight: 600; }
figure { margin: 20px 0; break-inside: avoid; }
figcaption { font-weight: 600; max-width: 78ch; overflow-wrap: anywhere; }
.chart { width: 100%; min-width: 0; overflow: hidden; }
.caption { font-weight: 600; font-size: .94rem; margin: 18px 0 4px; }
.box { overflow-x: auto; margin: 0 0 16px; max-width: 100%; }
.tall { max-height: 520px; overflow-y: auto; border-bottom: 1px solid var(--line); }
.tall thead th { position: sticky; top: 0; background: #fff; }
table { min-width: min(100%, 440px); border-collapse: collapse;
  font-size: .87rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; max-width: 52ch; }
.prose { min-width: 26ch; }
tbody th { font-weight: 500; max-width: 36ch; overflow-wrap: break-word; }
tbody th.prose { min-width: 18ch; }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
.number { text-align: right; }
.number, .line { white-space: nowrap; }
thead .number { white-space: normal; }
code, pre { font: .82rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--pale); border: 1px solid var(--line); border-radius: 6px; padding: 12px;
  overflow-x: auto; max-height: 520px; }
@media (max-width: 560px) {
  main { padding: 16px 12px 60px; }
  .verdict strong { font-size: 1.8rem; }
  th, td { padding-right: 10px; }
  td { max-width: 40ch; }
  .prose, tbody th.prose { min-width: 18ch; }
  tbody th, tbody th.line { white-space: normal; }
}
@media print {
  main { max-width: none; padding: 0; }
  section { break-before: auto; }
  h2, figcaption, .caption { break-after: avoid; }
  tr { break-inside: avoid; }
  .box, .tall, pre { overflow: visible; max-height: none; }
  pre { white-space: pre-wrap; }
}
"""
