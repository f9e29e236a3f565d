// Compiles a folder of TypeScript without looking at types, as the tests' own build does but for those, and copies everything else.
//
// usage: node transpile.js PACKAGES SOURCE OUT, PACKAGES being the folder whose node_modules has typescript
const fs = require("node:fs");
const path = require("node:path");

const [packages, source, out] = process.argv.slice(2);
const ts = require(require.resolve("typescript", { paths: [packages] }));

const compilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.CommonJS,
  esModuleInterop: true,
  experimentalDecorators: true,
  sourceMap: true,
};

for (const entry of fs.readdirSync(source, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const file = path.join(entry.parentPath ?? entry.path, entry.name);
  const to = path.join(out, path.relative(source, file));
  fs.mkdirSync(path.dirname(to), { recursive: true });
  if (!file.endsWith(".ts") || file.endsWith(".d.ts")) {
    fs.copyFileSync(file, to);
    continue;
  }
  const { outputText, sourceMapText, diagnostics } = ts.transpileModule(fs.readFileSync(file, "utf8"), {
    fileName: path.relative(path.dirname(to), file),
    compilerOptions,
    reportDiagnostics: true,
  });
  if (diagnostics.length > 0) throw new Error(`${file}: ${ts.flattenDiagnosticMessageText(diagnostics[0].messageText, "\n")}`);
  const js = to.replace(/\.ts$/, ".js");
  fs.writeFileSync(js, outputText);
  fs.writeFileSync(`${js}.map`, sourceMapText);
}
