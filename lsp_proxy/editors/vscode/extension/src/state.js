// What the status bar says. Proxies and `codetrial pause` leave small files in codetrial's runtime folder.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/** The same folder as codetrial.paths.data_dir. */
function dataFolder(environment = process.env) {
  if (environment.CODETRIAL_DATA_DIR) {
    return environment.CODETRIAL_DATA_DIR;
  }
  const base =
    process.platform === 'darwin'
      ? path.join(os.homedir(), 'Library', 'Application Support')
      : (environment.XDG_DATA_HOME ?? '').trim() || path.join(os.homedir(), '.local', 'share');
  return path.join(base, 'codetrial');
}

/** The same folder as codetrial.paths.runtime_dir. */
function runtimeFolder(environment = process.env) {
  return environment.CODETRIAL_RUNTIME_DIR || path.join(dataFolder(environment), 'run');
}

/** {until} in milliseconds since the epoch (null: until somebody resumes) while a pause holds, else undefined. */
function pauseNow(folder) {
  let text;
  try {
    text = fs.readFileSync(path.join(folder, 'paused.json'), 'utf8');
  } catch {
    return undefined;
  }
  try {
    const { until } = JSON.parse(text);
    if (typeof until !== 'number') {
      return { until: null }; // No end was given; what cannot be read counts as a pause, as it does for the proxies.
    }
    return until * 1000 > Date.now() ? { until: until * 1000 } : undefined;
  } catch {
    return { until: null };
  }
}

/** Calls back when a pause begins or ends, by whomever; returns how to stop. */
function watchPause(folder, changed) {
  fs.mkdirSync(folder, { recursive: true });
  const watcher = fs.watch(folder, (_, name) => name === 'paused.json' && changed());
  watcher.on('error', () => watcher.close());
  return () => watcher.close();
}

module.exports = { dataFolder, pauseNow, runtimeFolder, watchPause };
