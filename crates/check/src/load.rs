//! Source files: which there are, and what is in them. Asks cargo for the packages, follows `mod` from the root of each crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use syn::Item;

use crate::{Note, allow::Allows};

/// Why there is nothing to check.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path that is neither a package nor a Rust file.
    #[error("{0} is neither a folder with a Cargo.toml nor a Rust file")]
    NoSource(PathBuf),
    /// The program is not there.
    #[error("cargo cannot be run ({0}): it tells which files a package has. Name the files themselves: `sempre check src/lib.rs`")]
    NoCargo(std::io::Error),
    /// It did not like the package.
    #[error("cargo does not understand {folder}: {said}")]
    Cargo {
        /// The package.
        folder: PathBuf,
        /// Its words.
        said: String,
    },
}

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) allows: Allows,
}

/// A module with the items as written.
pub(crate) struct RawModule {
    pub(crate) name: String,
    /// Index into the files.
    pub(crate) file: usize,
    pub(crate) items: Vec<Item>,
    pub(crate) children: Vec<RawModule>,
}

/// A crate: a library, a program, an example, a test.
pub(crate) struct Krate {
    /// As others name it; only libraries are named.
    pub(crate) name: String,
    pub(crate) is_library: bool,
    /// Names under which it knows others, where they differ: `sdk` for `temporalio_sdk`.
    pub(crate) renames: BTreeMap<String, String>,
    pub(crate) root: RawModule,
}

/// All that is looked at.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) files: Vec<File>,
    pub(crate) crates: Vec<Krate>,
    pub(crate) notes: Vec<Note>,
}

struct Root {
    path: PathBuf,
    name: String,
    is_library: bool,
    renames: BTreeMap<String, String>,
}

/// Reads everything.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Sources, LoadError> {
    let (mut roots, mut seen) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let found = if path.join("Cargo.toml").is_file() {
            packages(path)?
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            vec![Root { path: path.clone(), name: String::new(), is_library: false, renames: BTreeMap::new() }]
        } else {
            return Err(LoadError::NoSource(path.clone()));
        };
        roots.extend(found.into_iter().filter(|root| seen.insert(root.path.clone())));
    }
    let mut sources = Sources::default();
    for root in roots {
        let Root { path, name, is_library, renames } = root;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        if let Some(root) = sources.module(String::new(), &path, &folder) {
            sources.crates.push(Krate { name, is_library, renames, root });
        }
    }
    Ok(sources)
}

/// The crates of a package, or of all packages of a workspace.
fn packages(folder: &Path) -> Result<Vec<Root>, LoadError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .output()
        .map_err(LoadError::NoCargo)?;
    let metadata = serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success());
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let metadata = metadata.ok_or_else(|| LoadError::Cargo { folder: folder.to_owned(), said: said() })?;
    let here = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let all = list(&metadata["packages"]);
    // The folder of one package of a workspace means that package, and those of the workspace that it uses.
    let own = all.iter().find(|package| Path::new(&text(&package["manifest_path"])) == here.join("Cargo.toml"));
    let is_root = Path::new(&text(&metadata["workspace_root"])) == here;
    let mut wanted: Vec<&Value> = match own {
        Some(own) if !is_root || all.len() == 1 => vec![own],
        _ => all.iter().collect(),
    };
    let mut at = 0;
    while let Some(package) = wanted.get(at).copied() {
        at += 1;
        let dependencies = list(&package["dependencies"]);
        // What tests alone use is no workflow code.
        for dependency in dependencies.iter().filter(|dependency| dependency["path"].is_string() && dependency["kind"].is_null()) {
            let manifest = Path::new(&text(&dependency["path"])).join("Cargo.toml");
            let found = all.iter().find(|package| Path::new(&text(&package["manifest_path"])) == manifest);
            if let Some(found) = found.filter(|found| !wanted.iter().any(|known| std::ptr::eq(*known, *found))) {
                wanted.push(found);
            }
        }
    }
    let mut roots = Vec::new();
    for package in wanted {
        let renames: BTreeMap<String, String> = list(&package["dependencies"])
            .iter()
            .filter_map(|dependency| Some((dependency["rename"].as_str()?.replace('-', "_"), text(&dependency["name"]).replace('-', "_"))))
            .collect();
        for target in list(&package["targets"]) {
            let kinds: Vec<String> = list(&target["kind"]).iter().map(text).collect();
            if kinds.iter().any(|kind| kind == "custom-build" || kind == "proc-macro") {
                continue;
            }
            let path = PathBuf::from(text(&target["src_path"]));
            // Shown as the user named the folder.
            let path = path.strip_prefix(&here).map(|below| folder.join(below)).unwrap_or(path);
            let is_library = kinds.iter().any(|kind| kind.ends_with("lib"));
            roots.push(Root { path: tidy(&path), name: text(&target["name"]).replace('-', "_"), is_library, renames: renames.clone() });
        }
    }
    Ok(roots)
}

/// Without a `./` in front.
fn tidy(path: &Path) -> PathBuf {
    path.strip_prefix(".").map(Path::to_path_buf).unwrap_or_else(|_| path.to_owned())
}

impl Sources {
    fn unseen(&mut self, file: &Path, line: usize, text: String) {
        self.notes.push(Note { file: file.to_owned(), line, text, unseen: true });
    }

    /// A module that is a file; `folder` is where files of its children are.
    fn module(&mut self, name: String, path: &Path, folder: &Path) -> Option<RawModule> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.unseen(path, 0, format!("cannot be read: {error}"));
                return None;
            }
        };
        let parsed = match syn::parse_file(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.unseen(path, error.span().start().line, format!("is not Rust that can be parsed: {error}"));
                return None;
            }
        };
        self.files.push(File { path: path.to_owned(), allows: Allows::read(&text) });
        let file = self.files.len() - 1;
        Some(self.items(name, file, parsed.items, path, folder))
    }

    fn items(&mut self, name: String, file: usize, items: Vec<Item>, path: &Path, folder: &Path) -> RawModule {
        let mut module = RawModule { name, file, items: Vec::new(), children: Vec::new() };
        for item in items {
            let Item::Mod(child) = item else {
                module.items.push(item);
                continue;
            };
            let name = child.ident.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
            let line = child.ident.span().start().line;
            if let Some((_, items)) = child.content {
                let inner = folder.join(&name);
                let child = self.items(name, file, items, path, &inner);
                module.children.push(child);
                continue;
            }
            let Some((path, folder)) = self.file_of(&child.attrs, &name, path, folder) else {
                // A module of another platform or feature may be missing; a module that is not there cannot be looked at either way.
                self.unseen(path, line, format!("module `{name}` has no file; it was not looked at"));
                continue;
            };
            if let Some(child) = self.module(name, &path, &folder) {
                module.children.push(child);
            }
        }
        module
    }

    /// The file of a module, and the folder of its children.
    fn file_of(&self, attributes: &[syn::Attribute], name: &str, parent: &Path, folder: &Path) -> Option<(PathBuf, PathBuf)> {
        let named = attributes.iter().filter(|attribute| attribute.path().is_ident("path")).find_map(|attribute| {
            let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
            let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
            Some(text.value())
        });
        if let Some(named) = named {
            let path = parent.parent().unwrap_or(Path::new("")).join(named);
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            return path.is_file().then_some((path, folder));
        }
        [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
            .into_iter()
            .find(|path| path.is_file())
            .map(|path| (path, folder.join(name)))
    }
}
