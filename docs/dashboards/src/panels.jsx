// Panels, drawn by the components that Grafana's own panels are made of.
import {
  VizOrientation,
  cacheFieldDisplayNames,
  getDisplayValueAlignmentFactors,
  getFieldDisplayName,
  getFieldDisplayValues,
  renderTextPanelMarkdown,
} from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import React from 'react';

import { Heatmap, StatusHistory } from './cells';
import { theme, timeZone } from './fields';

const KINDS = { timeseries: Lines, stat: Stat, bargauge: Bars, table: Rows, heatmap: Heatmap, 'status-history': StatusHistory };

export function Content({ panel, frames, range, width, height }) {
  if (panel.type === 'text') {
    return <div dangerouslySetInnerHTML={{ __html: renderTextPanelMarkdown(panel.options.content) }} />;
  }
  if (!frames.some((frame) => frame.length > 0)) {
    const box = { width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: '#8e8e8e' };
    return <div style={box}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  const Kind = KINDS[panel.type];
  return <Kind panel={panel} frames={frames} range={range} width={width} height={height} />;
}

function Lines({ panel, frames, range, width, height }) {
  cacheFieldDisplayNames(frames);
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={range}
      timeZone={timeZone}
      legend={panel.options.legend}
      theme={theme}
    />
  );
}

const displayed = (panel, frames) =>
  getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    timeZone,
  });

function Stat({ panel, frames, width, height }) {
  const { colorMode, graphMode, justifyMode, textMode } = panel.options;
  const modes = { colorMode, graphMode, justifyMode, textMode };
  return <BigValue value={displayed(panel, frames)[0].display} width={width} height={height} theme={theme} {...modes} />;
}

function Bars({ panel, frames, width, height }) {
  const values = displayed(panel, frames);
  const options = panel.options;
  return (
    <VizRepeater
      source={frames}
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      orientation={VizOrientation.Horizontal}
      width={width}
      height={height}
      minVizHeight={options.minVizHeight}
      minVizWidth={options.minVizWidth}
      maxVizHeight={options.maxVizHeight}
      renderCounter={0}
      renderValue={({ value, width, height, alignmentFactors }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          width={width}
          height={height}
          orientation={VizOrientation.Horizontal}
          theme={theme}
          itemSpacing={8}
          text={options.text}
          alignmentFactors={alignmentFactors}
          displayMode={options.displayMode}
          showUnfilled={options.showUnfilled}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
        />
      )}
    />
  );
}

function Rows({ panel, frames, range, width, height }) {
  const data = frames[0];
  const names = data.fields.map((field) => getFieldDisplayName(field, data));
  return (
    <Table
      data={data}
      width={width}
      height={height}
      cellHeight={panel.options.cellHeight}
      initialSortBy={panel.options.sortBy.filter((sort) => names.includes(sort.displayName))}
      timeRange={range}
      ariaLabel={panel.title}
    />
  );
}
