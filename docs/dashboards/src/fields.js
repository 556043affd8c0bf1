// Transformations and field options, applied by Grafana's own code.
import {
  Registry,
  applyFieldOverrides,
  createTheme,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

export const theme = createTheme({ colors: { mode: 'dark' } });
export const timeZone = 'utc';

standardTransformersRegistry.setInit(() =>
  // Some have an older name besides.
  Object.values(Object.fromEntries(Object.values(standardTransformers).map((one) => [one.id, one]))).map((one) => ({
    id: one.id,
    name: one.name,
    transformation: one,
  }))
);

const STANDARD = ['unit', 'decimals', 'min', 'max', 'displayName', 'noValue', 'thresholds', 'mappings', 'color', 'links'];

const option = (id, path, isCustom) => ({
  id,
  path,
  isCustom,
  name: id,
  process: (value) => value,
  shouldApply: () => true,
  getItemsCount: () => 0,
});

// Grafana registers options with each kind of panel; here those are registered that the panel has.
function registry(fieldConfig) {
  const ids = fieldConfig.overrides.flatMap((rule) => rule.properties.map((property) => property.id));
  const custom = [
    ...Object.keys(fieldConfig.defaults.custom || {}),
    ...ids.filter((id) => id.startsWith('custom.')).map((id) => id.slice('custom.'.length)),
  ];
  return new Registry(() => [
    ...STANDARD.map((id) => option(id, id, false)),
    ...[...new Set(custom)].map((id) => option(`custom.${id}`, id, true)),
  ]);
}

export async function prepared(panel, frames) {
  const transformed = await firstValueFrom(transformDataFrame(panel.transformations || [], frames));
  const fieldConfig = { defaults: {}, overrides: [], ...panel.fieldConfig };
  return applyFieldOverrides({
    data: transformed,
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone,
  });
}
