// A dashboard as one page: window.PAGE has its JSON and what Prometheus answered.
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import 'uplot/dist/uPlot.min.css';
import { ThemeContext, dateTime, dateTimeFormat } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';

import { prepared, theme, timeZone } from './fields';
import { frames } from './frames';
import { Content } from './panels';

const WIDTH = 1600;
const MARGIN = 16;
const GAP = 8;
const HEADER = 56;
const ROW = 30;

const column = (WIDTH - 2 * MARGIN - 23 * GAP) / 24;
const size = ({ x, y, w, h }) => ({
  left: MARGIN + x * (column + GAP),
  top: HEADER + y * (ROW + GAP),
  width: w * column + (w - 1) * GAP,
  height: h * ROW + (h - 1) * GAP,
});

function Dashboard({ page, panels }) {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Header page={page} />
      {panels.map(({ panel, data, range }) => {
        const place = size(panel.gridPos);
        if (panel.type === 'row') {
          return (
            <div key={panel.id} style={{ position: 'absolute', ...place, fontSize: 16, fontWeight: 500, paddingTop: 4 }}>
              <span style={{ color: '#8e8e8e' }}>{panel.collapsed ? '›' : '⌄'}</span> {panel.title}
              {panel.collapsed ? <span style={{ color: '#8e8e8e' }}> ({panel.panels.length} panels)</span> : null}
            </div>
          );
        }
        return (
          <div key={panel.id} style={{ position: 'absolute', ...place }}>
            <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
              {(width, height) => <Content panel={panel} frames={data} range={range} width={width} height={height} />}
            </PanelChrome>
          </div>
        );
      })}
    </ThemeContext.Provider>
  );
}

function Header({ page }) {
  const at = (seconds) => dateTimeFormat(seconds * 1000, { format: 'YYYY-MM-DD HH:mm', timeZone });
  const box = { border: '1px solid #34363d', borderRadius: 2, padding: '3px 8px', marginLeft: 12 };
  return (
    <div style={{ display: 'flex', alignItems: 'center', padding: `14px ${MARGIN}px`, height: HEADER }}>
      <span style={{ fontSize: 20, fontWeight: 500, marginRight: 12 }}>{page.dashboard.title}</span>
      {Object.entries(page.variables).map(([label, value]) => (
        <span key={label} style={box}>
          <span style={{ color: '#6e9fff' }}>{label}</span> {value}
        </span>
      ))}
      <span style={{ ...box, marginLeft: 'auto' }}>
        {at(page.from)} to {at(page.to)} UTC
      </span>
    </div>
  );
}

async function draw(page) {
  const timeRange = { from: dateTime(page.from * 1000), to: dateTime(page.to * 1000) };
  const range = { ...timeRange, raw: timeRange };
  const panels = [];
  for (const panel of page.dashboard.panels) {
    const { step, answers } = page.answers[panel.id] || { step: 15, answers: {} };
    const steps = { from: Math.ceil(page.from / step) * step, to: page.to, step };
    const data = panel.type === 'row' ? [] : await prepared(panel, frames(panel, answers, steps));
    panels.push({ panel, data, range });
  }
  // Before anything is measured.
  await Promise.all(['400 14px Inter', '500 14px Inter'].map((font) => document.fonts.load(font)));
  const root = document.getElementById('root');
  const bottom = Math.max(...page.dashboard.panels.map((panel) => size(panel.gridPos).top + size(panel.gridPos).height));
  root.style.cssText = `position: relative; width: ${WIDTH}px; height: ${bottom + MARGIN}px`;
  createRoot(root).render(<Dashboard page={page} panels={panels} />);
}

draw(window.PAGE);
