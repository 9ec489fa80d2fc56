// VS Code and its forks: language servers behind `codetrial lsp`, their suggestions as ghost text, and a status bar item.
const { execFile } = require('node:child_process');
const path = require('node:path');
const vscode = require('vscode');
const { LanguageClient, RevealOutputChannelOn, State } = require('vscode-languageclient/node');

const chosen = require('./chosen.js');
const { dataFolder, pauseNow, runtimeFolder, watchPause } = require('./state.js');

let desk;

async function activate(context) {
  desk = new Desk(context);
  const commands = {
    menu: () => desk.menu(),
    pause: () => desk.run('pause'),
    pauseForAnHour: () => desk.run('pause', '--for', '1h'),
    resume: () => desk.run('resume'),
    restart: () => desk.restart(),
    showLog: () => desk.log.show(true),
  };
  for (const [name, action] of Object.entries(commands)) {
    context.subscriptions.push(vscode.commands.registerCommand(`codetrial.${name}`, action));
  }
  context.subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration('codetrial')) {
        desk.restart();
      }
    }),
  );
  await desk.start();
}

function deactivate() {
  return desk?.stop();
}

/** All that runs in this window. */
class Desk {
  constructor(context) {
    this.log = vscode.window.createOutputChannel('codetrial', { log: true });
    this.item = vscode.window.createStatusBarItem('codetrial', vscode.StatusBarAlignment.Right, 100);
    this.item.name = 'codetrial';
    this.item.command = 'codetrial.menu';
    this.clients = [];
    this.faults = [];
    this.changing = Promise.resolve();
    this.folder = runtimeFolder();
    context.subscriptions.push(this.log, this.item, { dispose: () => clearTimeout(this.resuming) });
    try {
      context.subscriptions.push({ dispose: watchPause(this.folder, () => this.show()) });
    } catch (fault) {
      this.log.warn(`Cannot watch ${this.folder}: ${fault.message}. A pause by others is not shown here.`);
    }
  }

  /** One change at a time: settings may change while clients still start. */
  start() {
    this.changing = this.changing
      .then(() => this.starting())
      .catch((fault) => {
        this.complain(String(fault)); // Nobody waits for the answer: the next change must not.
      });
    return this.changing;
  }

  stop() {
    this.changing = this.changing.then(() => this.stopping());
    return this.changing;
  }

  restart() {
    this.stop();
    return this.start();
  }

  async starting() {
    const settings = vscode.workspace.getConfiguration('codetrial');
    this.faults = [];
    const { command, fault } = chosen.codetrial(settings.get('command') ?? [], path.join(dataFolder(), 'editors'));
    this.command = command;
    if (fault) {
      this.complain(fault, 'codetrial.command');
      return;
    }
    const folders = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
    const servers = chosen.servers(
      { servers: settings.get('servers'), suggestElsewhere: settings.get('suggestElsewhere') },
      {
        setting: (name) => vscode.workspace.getConfiguration().get(name),
        hasExtension: (id) => vscode.extensions.getExtension(id) !== undefined,
        languages: await vscode.languages.getLanguages(),
        folders,
      },
    );
    for (const server of servers) {
      if (server.fault) {
        this.complain(server.fault, 'codetrial.servers');
      }
    }
    await Promise.all(servers.map((server) => this.begin(server, settings.get('options') ?? [], folders[0])));
    this.show();
  }

  async begin(server, options, cwd) {
    const words = [...this.command, 'lsp', ...options, '--', ...server.command];
    this.log.info(`${server.name}: ${words.join(' ')}`);
    const client = new LanguageClient(
      `codetrial.${server.name}`,
      `codetrial: ${server.name}`,
      { command: words[0], args: words.slice(1), options: { cwd } },
      {
        documentSelector: server.languages.map((language) => ({ scheme: 'file', language })),
        outputChannel: this.log,
        revealOutputChannelOn: RevealOutputChannelOn.Never, // What matters is said in a message.
      },
    );
    client.onDidChangeState(() => this.show());
    this.clients.push({ server, client });
    try {
      await client.start();
    } catch (fault) {
      const mend = /already exists/.test(fault.message)
        ? 'Another extension runs this server too: disable it, or leave the command out of codetrial.servers.'
        : 'The log says more.';
      this.complain(`${server.name} could not be started behind codetrial: ${fault.message}. ${mend}`);
    }
  }

  async stopping() {
    const clients = this.clients.splice(0);
    await Promise.all(clients.map(({ client }) => client.dispose().catch((fault) => this.log.warn(String(fault)))));
  }

  /** Says what is wrong, once, with a way to mend it. */
  async complain(sentence, setting) {
    this.faults.push(sentence);
    this.log.error(sentence);
    this.show();
    const answers = setting ? ['Open the settings', 'Show the log'] : ['Show the log'];
    const answer = await vscode.window.showErrorMessage(sentence, ...answers);
    if (answer === 'Open the settings') {
      await vscode.commands.executeCommand('workbench.action.openSettings', setting);
    } else if (answer) {
      this.log.show(true);
    }
  }

  /** Lets the command line do it: then all windows and editors know. */
  async run(...words) {
    if (!this.command) {
      await this.restart();
    }
    if (!this.command) {
      return;
    }
    const [program, ...first] = this.command;
    await new Promise((resolve) => {
      execFile(program, [...first, ...words], { timeout: 20_000 }, (fault, _, stderr) => {
        if (fault) {
          this.complain(`codetrial ${words[0]}: ${stderr.trim() || fault.message}`);
        }
        resolve();
      });
    });
    this.show();
  }

  show() {
    const pause = pauseNow(this.folder);
    clearTimeout(this.resuming);
    if (pause?.until) {
      const longest = 2 ** 31 - 1; // What a timer can wait; after that we look again.
      this.resuming = setTimeout(() => this.show(), Math.min(pause.until - Date.now() + 50, longest));
    }
    const running = this.clients.filter(({ client }) => client.state === State.Running);
    const [icon, word] =
      this.faults.length > 0
        ? ['warning', 'something is wrong']
        : pause
          ? ['debug-pause', pause.until ? `paused until ${new Date(pause.until).toLocaleTimeString()}` : 'paused']
          : running.length < this.clients.length
            ? ['loading~spin', 'starting']
            : ['beaker', 'suggests'];
    const lines = this.clients.map(({ server, client }) => {
      const state = { [State.Running]: 'runs', [State.Starting]: 'starts' }[client.state] ?? 'does not run';
      return `${server.command.length > 0 ? server.name : 'suggestions alone'}: ${state}`;
    });
    this.item.text = `$(${icon}) codetrial${pause && this.faults.length === 0 ? ': paused' : ''}`;
    this.item.tooltip = [`codetrial: ${word}`, ...this.faults, ...lines].join('\n');
    this.item.accessibilityInformation = { label: `codetrial: ${word}` };
    this.item.show();
  }

  async menu() {
    const choices = pauseNow(this.folder)
      ? [{ label: '$(debug-start) Resume', command: 'codetrial.resume' }]
      : [
          { label: '$(debug-pause) Pause for an hour', command: 'codetrial.pauseForAnHour' },
          { label: '$(debug-pause) Pause', command: 'codetrial.pause' },
        ];
    choices.push(
      { label: '$(refresh) Restart', command: 'codetrial.restart' },
      { label: '$(output) Show the log', command: 'codetrial.showLog' },
    );
    const choice = await vscode.window.showQuickPick(choices, { placeHolder: this.item.tooltip.replaceAll('\n', ' · ') });
    if (choice) {
      await vscode.commands.executeCommand(choice.command);
    }
  }
}

module.exports = { activate, deactivate };
