// Two kinds of panels whose components Grafana does not publish: heatmaps and status histories, as grids of cells.
import { FieldType, dateTimeFormat, formattedValueToString, getFieldDisplayName, getValueFormat } from '@grafana/data';
import React from 'react';

import { timeZone } from './fields';

const LABEL = 104;
const AXIS = 20;

export function Heatmap({ panel, frames, width, height }) {
  const [time, ...buckets] = frames[0].fields;
  const most = Math.max(...buckets.flatMap((field) => field.values.map((value) => value ?? 0)));
  const unit = getValueFormat(panel.options.yAxis.unit);
  const rows = [...buckets].reverse().map((field) => ({
    name: field.name === '+Inf' ? 'more' : `≤ ${formattedValueToString(unit(parseFloat(field.name)))}`,
    // The least that is anything is 1e-9, as in the panel's options.
    colours: field.values.map((value) => (value > 1e-9 ? blue((value / most) ** 0.5) : null)),
  }));
  return <Grid rows={rows} times={time.values} width={width} height={height} />;
}

export function StatusHistory({ frames, width, height }) {
  const rows = frames
    .map((frame) => {
      const field = frame.fields.find((one) => one.type === FieldType.number);
      const colours = field.values.map((value) => (value === null ? null : field.display(value).color));
      return { name: getFieldDisplayName(field, frame), colours };
    })
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  return <Grid rows={rows} times={frames[0].fields[0].values} width={width} height={height} />;
}

const blue = (share) => `hsl(${210 + 6 * share}, 80%, ${24 + 56 * share}%)`;

function Grid({ rows, times, width, height }) {
  const column = (width - LABEL) / times.length;
  const row = Math.min(34, (height - AXIS) / rows.length);
  const every = Math.ceil(times.length / Math.max(2, Math.floor((width - LABEL) / 70)));
  const text = { fill: '#ccccdc', fontSize: Math.min(12, row * 0.85) };
  return (
    <svg width={width} height={height}>
      {rows.map(({ name, colours }, y) => (
        <g key={name}>
          <text x={LABEL - 8} y={(y + 0.5) * row} textAnchor="end" dominantBaseline="middle" {...text}>
            {name}
          </text>
          {colours.map((colour, x) => (
            <rect
              key={x}
              x={LABEL + x * column}
              y={y * row + 1}
              width={Math.max(1, column - 1)}
              height={Math.max(1, row - 2)}
              fill={colour ?? '#1f2126'}
            />
          ))}
        </g>
      ))}
      {times.map((time, x) =>
        x % every === 0 ? (
          <text key={time} x={LABEL + (x + 0.5) * column} y={rows.length * row + 14} textAnchor="middle" fill="#ccccdc" fontSize={12}>
            {dateTimeFormat(time, { format: 'HH:mm', timeZone })}
          </text>
        ) : null
      )}
    </svg>
  );
}
