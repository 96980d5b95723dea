"""How a report looks: light and dark, wide and narrow, on paper."""

from __future__ import annotations

STYLE = """
:root{--paper:#fff;--ink:#1b1f24;--quiet:#5b6570;--line:#d9dee3;--card:#f5f7f9;--kept:#2f7d4f;--dropped:#b8620b;
  --failed:#b3261e;--bound:#1f5fbf}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e7eaed;--quiet:#9aa5b0;--line:#343a41;
  --card:#1d2125;--kept:#57b37e;--dropped:#e39a4d;--failed:#f07a70;--bound:#7fb0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main{max-width:1080px;margin:0 auto;padding:0 16px}
h1{margin:24px 0 0}
h2{margin:40px 0 8px;border-bottom:1px solid var(--line)}
h3{margin:20px 0 6px;font-size:1.05rem}
h4{margin:4px 0;font-size:.85rem}
p{max-width:70ch}
small,.quiet{color:var(--quiet);fill:var(--quiet)}
small{font-size:.8rem;font-weight:400}
.kept{color:var(--kept)}
.dropped{color:var(--dropped)}
.failed{color:var(--failed)}
.numbers{display:flex;flex-wrap:wrap;gap:12px}
.numbers div{background:var(--card);border-radius:8px;padding:8px 16px}
.numbers b{font-size:1.6rem}
nav{display:flex;flex-wrap:wrap;gap:16px;margin:12px 0}
a{color:var(--bound)}
:focus-visible{outline:3px solid var(--bound);outline-offset:2px}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{text-align:right;padding:4px 12px;border-bottom:1px solid var(--line)}
th:first-child,.list td,.list th{text-align:left}
.funnel{list-style:none;padding:0;margin:0}
.funnel li{display:grid;grid-template-columns:minmax(180px,320px) 1fr 110px;gap:12px;align-items:center;
  padding:3px 0;border-bottom:1px solid var(--line)}
.funnel .stage{display:block;padding-top:12px}
.funnel .label small{display:block;line-height:1.25}
.bar{display:flex;height:18px;background:var(--card);border-radius:3px;overflow:hidden}
.bar i{display:block;height:100%}
i.kept{background:var(--kept)}
i.dropped{background:var(--dropped)}
i.failed{background:var(--failed)}
.count{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.count small{font-weight:600}
.count small.dropped{color:var(--dropped)}
.count small.failed{color:var(--failed)}
.wide{overflow-x:auto}
.sankey{min-width:620px;width:100%;display:block}
svg text{font:13px system-ui,sans-serif;fill:var(--ink)}
svg text.quiet,svg tspan.quiet{fill:var(--quiet);font-size:12px}
.flow{fill:none;opacity:.35}
.flow:hover{opacity:.7}
.flow.kept{stroke:var(--kept)}
.flow.dropped{stroke:var(--dropped)}
.flow.failed{stroke:var(--failed)}
rect.node{fill:var(--quiet)}
rect.kept{fill:var(--kept)}
rect.dropped{fill:var(--dropped)}
rect.failed{fill:var(--failed)}
.histogram{width:100%;max-width:420px;display:block}
.axis{stroke:var(--line)}
.bound{stroke:var(--bound);stroke-width:2;stroke-dasharray:5 3}
svg text.limit{fill:var(--bound);font-size:12px}
article{padding-bottom:8px}
.pair{display:grid;grid-template-columns:minmax(260px,380px) minmax(0,1fr);gap:16px}
.pair>div,.sides>div{min-width:0}.sides{display:grid;gap:6px;min-width:0}
.strip{display:flex;gap:8px;overflow-x:auto;padding:2px}
figure{margin:0;background:var(--card);border-radius:8px;padding:6px}
.strip figure{flex:0 0 132px}.strip figure.many{flex-basis:316px}.many img{max-width:32%}
.pictures{display:flex;gap:4px;justify-content:center;
  background:repeating-conic-gradient(var(--line) 0 25%,var(--paper) 0 50%) 0 0/12px 12px}
.pictures img{height:96px;max-width:100%;object-fit:contain;display:block}
figcaption{font-size:.8rem;line-height:1.3;overflow-wrap:anywhere;}
figcaption small{display:block}
figcaption [dir]{display:-webkit-box;-webkit-line-clamp:6;-webkit-box-orient:vertical;overflow:hidden}
figure:focus [dir]{-webkit-line-clamp:unset}
.name{opacity:.8}

.narrow{display:none}
summary{cursor:pointer;font-weight:600;margin-top:12px}
@media (max-width:720px){.funnel li{grid-template-columns:1fr auto}.funnel .bar{grid-column:1/-1;grid-row:2}
  .pair{grid-template-columns:minmax(0,1fr)}body{font-size:15px}.narrow{display:inline}}
@media print{.strip{flex-wrap:wrap}details{display:block}}
"""
