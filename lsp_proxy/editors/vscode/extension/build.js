// Bundles src/ and vscode-languageclient into dist/, byte for byte the same each time: npm ci && npm run build.
const esbuild = require('esbuild');
const fs = require('node:fs');
const path = require('node:path');

const out = path.join(__dirname, 'dist');

async function main() {
  const { metafile } = await esbuild.build({
    absWorkingDir: __dirname,
    entryPoints: ['src/extension.js'],
    outfile: 'dist/extension.js',
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node18',
    external: ['vscode'],
    minify: true,
    legalComments: 'none', // The licences lie beside it, whole.
    metafile: true,
  });
  fs.writeFileSync(path.join(out, 'LICENSES.txt'), licences(Object.keys(metafile.inputs)));
}

/** The licences of every package that is in the bundle. */
function licences(inputs) {
  const folders = new Set(inputs.map((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]).filter(Boolean));
  const texts = [...folders].sort().map((folder) => {
    const manifest = JSON.parse(fs.readFileSync(path.join(__dirname, folder, 'package.json'), 'utf8'));
    const name = fs.readdirSync(path.join(__dirname, folder)).find((file) => /^licen[cs]e/i.test(file));
    const text = name === undefined ? '' : fs.readFileSync(path.join(__dirname, folder, name), 'utf8');
    return `${manifest.name} ${manifest.version} (${manifest.license})\n\n${text.replaceAll('\r\n', '\n').trim()}\n`;
  });
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}

main().catch((fault) => {
  console.error(String(fault));
  process.exit(1);
});
