// What to start for which languages: decided from the settings and from what is on this machine.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const known = require('../servers.json');

/** The first of the folders on PATH, and of those named, that holds the program; undefined if none does. */
function find(program, folders = []) {
  if (program.startsWith('~/')) {
    program = path.join(os.homedir(), program.slice(2));
  }
  if (program.includes(path.sep)) {
    return isProgram(program) ? program : undefined;
  }
  const places = [...folders, ...(process.env.PATH ?? '').split(path.delimiter)].filter(Boolean);
  return places.map((folder) => path.join(folder, program)).find(isProgram);
}

function isProgram(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

/** How codetrial is started: {command} or {fault} with a sentence that says how to mend it. */
function codetrial(configured, folder) {
  if (configured.length > 0) {
    const found = find(configured[0]);
    return found
      ? { command: [found, ...configured.slice(1)] }
      : { fault: `The setting codetrial.command names ${configured[0]}, which is not there. Mend it, or empty it.` };
  }
  const installed = asInstalled(folder);
  const found = [...installed, ['codetrial']].find(([program]) => find(program));
  if (found) {
    return { command: [find(found[0]), ...found.slice(1)] };
  }
  const places = [...installed.map(([program]) => program), 'codetrial on PATH'].join(', ');
  return {
    fault: `codetrial was not found (looked for ${places}). Install it (pipx install codetrial) and run "codetrial install" again, or set codetrial.command.`,
  };
}

/** The commands that `codetrial install` left, by their full paths: editors are often started without a shell's PATH. */
function asInstalled(folder) {
  return known.editors.flatMap((editor) => {
    try {
      const { command } = JSON.parse(fs.readFileSync(path.join(folder, `${editor}.json`), 'utf8'));
      return [command];
    } catch {
      return []; // Not installed by that name.
    }
  });
}

/**
 * The servers to start, as {name, languages, command, fault?}; an empty command is codetrial on its own.
 *
 * settings: {servers, suggestElsewhere}; around: {setting(name), hasExtension(id), languages, folders}.
 */
function servers(settings, around) {
  const named = settings.servers ?? defaults(around);
  const chosen = named.map((server) => one(server, around));
  if (settings.suggestElsewhere) {
    const taken = new Set([...chosen.flatMap((server) => server.languages), ...wrappedElsewhere(around)]);
    const languages = around.languages.filter((language) => !taken.has(language));
    if (languages.length > 0) {
      chosen.push({ name: 'suggestions', languages, command: [] });
    }
  }
  return chosen;
}

function one(server, around) {
  const languages = server.languages ?? [];
  const command = server.command ?? [];
  if (command.length === 0) {
    return { name: languages.join(', '), languages, command };
  }
  const found = find(command[0], projectPrograms(around.folders));
  if (found) {
    return { name: path.basename(command[0]), languages, command: [found, ...command.slice(1)] };
  }
  const fault = `The language server ${command[0]} for ${languages.join(', ')} was not found on PATH. Install it, or change codetrial.servers. Until then there are suggestions alone.`;
  return { name: languages.join(', '), languages, command: [], fault };
}

function defaults(around) {
  if (known.python.extensions.some(around.hasExtension)) {
    return [];
  }
  const command = known.python.commands.find(([program]) => find(program, projectPrograms(around.folders)));
  return command ? [{ languages: ['python'], command }] : [];
}

/** A project's own environment comes before PATH, as other extensions have it too. */
function projectPrograms(folders) {
  return folders.flatMap((folder) => ['.venv', 'venv'].map((name) => path.join(folder, name, 'bin')));
}

/** Languages whose server another extension starts through our wrapper: they would be served twice. */
function wrappedElsewhere(around) {
  return known.settings
    .filter(({ setting, member }) => {
      const value = around.setting(setting);
      const program = member === undefined ? value : value?.[member];
      return typeof program === 'string' && program.split(path.sep).includes('codetrial-wrapped');
    })
    .flatMap(({ languages }) => languages);
}

module.exports = { codetrial, find, servers };
