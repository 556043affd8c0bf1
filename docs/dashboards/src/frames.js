// Answers of Prometheus as data frames, as Grafana's data source for Prometheus makes them.
import { FieldType, renderLegendFormat } from '@grafana/data';

const number = (text) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : parseFloat(text));

// A value at every step from `from` to `to`; null where Prometheus has none.
function everyStep(values, { from, to, step }) {
  const there = new Map(values.map(([time, value]) => [Math.round(time), number(value)]));
  const times = [];
  for (let time = from; time <= to; time += step) {
    times.push(time);
  }
  return [times, times.map((time) => there.get(time) ?? null).map((value) => (Number.isNaN(value) ? null : value))];
}

function series(target, one, range) {
  const labels = { ...one.metric };
  const [times, values] = one.values ? everyStep(one.values, range) : [[one.value[0]], [number(one.value[1])]];
  const displayNameFromDS = renderLegendFormat(target.legendFormat || '', labels) || undefined;
  return {
    refId: target.refId,
    length: times.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: times.map((time) => time * 1000) },
      { name: 'Value', type: FieldType.number, config: { displayNameFromDS }, labels, values },
    ],
  };
}

// One frame: a column for each label and one for the values.
function table(target, results, several) {
  const labels = [...new Set(results.flatMap((one) => Object.keys(one.metric)))].sort();
  const name = several ? `Value #${target.refId}` : 'Value';
  return {
    refId: target.refId,
    length: results.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: results.map((one) => one.value[0] * 1000) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        config: {},
        values: results.map((one) => one.metric[label] ?? ''),
      })),
      { name, type: FieldType.number, config: {}, values: results.map((one) => number(one.value[1])) },
    ],
  };
}

// One frame with a column for each bucket; a bucket's predecessor is taken off, for Prometheus counts from zero.
function histogram(target, results, range) {
  const sorted = results
    .map((one) => series(target, one, range))
    .sort((a, b) => number(a.fields[1].labels.le) - number(b.fields[1].labels.le));
  if (sorted.length === 0) {
    return [];
  }
  const counts = sorted.map((frame) => frame.fields[1].values);
  const buckets = sorted.map((frame, row) => ({
    ...frame.fields[1],
    name: frame.fields[1].labels.le,
    values: counts[row].map((count, at) => (count === null ? null : count - (row ? counts[row - 1][at] ?? 0 : 0))),
  }));
  return [{ ...sorted[0], fields: [sorted[0].fields[0], ...buckets] }];
}

export function frames(panel, answers, range) {
  const targets = (panel.targets || []).filter((target) => answers[target.refId]);
  const tables = targets.filter((target) => target.format === 'table' && answers[target.refId].length);
  return targets.flatMap((target) => {
    const results = answers[target.refId];
    if (target.format === 'table') {
      return results.length ? [table(target, results, tables.length > 1)] : [];
    }
    if (target.format === 'heatmap') {
      return histogram(target, results, range);
    }
    return results.map((one) => series(target, one, range));
  });
}
