//! Which item a path names: modules, imports, globs, aliases. As the language has it, but for macros that make items.

use std::collections::BTreeMap;

use crate::{
    index::{Index, StaticId, TypeId},
    rules,
};

pub(crate) type ModuleId = usize;
pub(crate) type FuncId = usize;

/// Follows this many imports of imports.
const DEPTH_MAX: usize = 16;

/// A module, or a block of a function that has items of its own.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) krate: usize,
    /// The module around it.
    pub(crate) parent: Option<ModuleId>,
    /// A block of a function: it sees what the module around it sees.
    pub(crate) is_block: bool,
    pub(crate) children: BTreeMap<String, ModuleId>,
    /// Imports: the name here, and the path.
    pub(crate) uses: BTreeMap<String, Vec<Vec<String>>>,
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) types: BTreeMap<String, TypeId>,
    pub(crate) functions: BTreeMap<String, FuncId>,
    pub(crate) statics: BTreeMap<String, StaticId>,
    /// Constants, which nothing changes, but which hide imports of the same name.
    pub(crate) constants: BTreeMap<String, ()>,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(ModuleId),
    /// A type of the sources.
    Type(TypeId),
    /// Something below a type of the sources: a method, a variant.
    Member(TypeId, String),
    Function(FuncId),
    Static(StaticId),
    Constant,
    /// Something of another crate, by its canonical path.
    Foreign(String),
    /// One of several foreign modules that are imported whole may have it.
    Globbed(Vec<String>, String),
    Unknown,
}

/// Names that are everywhere and nothing of ours.
const PRELUDE: &[&str] = &[
    "Some",
    "None",
    "Ok",
    "Err",
    "Option",
    "Result",
    "Vec",
    "String",
    "Box",
    "ToString",
    "ToOwned",
    "Clone",
    "Copy",
    "Default",
    "Drop",
    "drop",
    "Fn",
    "FnMut",
    "FnOnce",
    "Into",
    "From",
    "TryFrom",
    "TryInto",
    "AsRef",
    "AsMut",
    "Iterator",
    "IntoIterator",
    "Extend",
    "Send",
    "Sync",
    "Sized",
    "Unpin",
    "Eq",
    "PartialEq",
    "Ord",
    "PartialOrd",
    "Future",
    "IntoFuture",
    "bool",
    "char",
    "str",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "f32",
    "f64",
];

impl Index {
    /// What `path` names, seen from `module`.
    pub(crate) fn resolve(&self, module: ModuleId, path: &[String]) -> Target {
        self.resolve_in(module, path, 0)
    }

    fn resolve_in(&self, module: ModuleId, path: &[String], depth: usize) -> Target {
        let Some((first, rest)) = path.split_first() else { return Target::Unknown };
        if depth > DEPTH_MAX {
            return Target::Unknown;
        }
        let real = self.real(module);
        match first.as_str() {
            "crate" | "$crate" => return self.below(Target::Module(self.root(module)), rest, depth),
            "self" => return self.below(Target::Module(real), rest, depth),
            "super" => {
                let Some(parent) = self.modules[real].parent else { return Target::Unknown };
                let parent = self.real(parent);
                return if rest.is_empty() { Target::Module(parent) } else { self.resolve_member(parent, rest, depth) };
            }
            "" => return self.foreign_or_library(module, rest, depth),
            _ => {}
        }
        // What a block does not have, the module around it may.
        let mut at = module;
        loop {
            match self.own(at, first, !rest.is_empty(), depth) {
                Target::Unknown => {}
                found => return self.below(found, rest, depth),
            }
            match self.modules[at].parent.filter(|_| self.modules[at].is_block) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if PRELUDE.contains(&first.as_str()) {
            return Target::Foreign(path.join("::"));
        }
        let mut globs: Vec<String> = Vec::new();
        let mut at = Some(module);
        while let Some(scope) = at {
            for glob in &self.modules[scope].globs {
                if let Target::Foreign(prefix) = self.resolve_in(scope, glob, depth + 1) {
                    globs.push(prefix);
                }
            }
            at = self.modules[scope].parent.filter(|_| self.modules[scope].is_block);
        }
        if rest.is_empty() || !globs.is_empty() && !self.is_crate_name(module, first) {
            return Target::Globbed(globs, path.join("::"));
        }
        self.foreign_or_library(module, path, depth)
    }

    /// `path` is `super::…` without its first part: the rest is seen from that module.
    fn resolve_member(&self, module: ModuleId, path: &[String], depth: usize) -> Target {
        match path.first().map(String::as_str) {
            Some("super") => self.resolve_in(module, path, depth + 1),
            _ => self.below(Target::Module(module), path, depth),
        }
    }

    /// A path that begins with the name of a crate.
    fn foreign_or_library(&self, module: ModuleId, path: &[String], depth: usize) -> Target {
        let Some((first, rest)) = path.split_first() else { return Target::Unknown };
        let krate = &self.crates[self.modules[module].krate];
        let name = krate.renames.get(first).unwrap_or(first);
        if let Some(root) = self.libraries.get(name) {
            return self.below(Target::Module(*root), rest, depth);
        }
        let mut parts = vec![name.clone()];
        parts.extend(rest.iter().cloned());
        Target::Foreign(rules::canonical(&parts.join("::")))
    }

    fn is_crate_name(&self, module: ModuleId, name: &str) -> bool {
        let krate = &self.crates[self.modules[module].krate];
        matches!(name, "std" | "core" | "alloc")
            || krate.renames.contains_key(name)
            || self.libraries.contains_key(name)
            || rules::RULES.iter().any(|rule| rule.path.split("::").next() == Some(name))
    }

    /// What a module has under a name: an item, an import, something of a local module that is imported whole.
    fn own(&self, module: ModuleId, name: &str, more_follows: bool, depth: usize) -> Target {
        let this = &self.modules[module];
        // What a path goes on from is a type or a module.
        if !more_follows {
            if let Some(function) = this.functions.get(name) {
                return Target::Function(*function);
            }
            if let Some(found) = this.statics.get(name) {
                return Target::Static(*found);
            }
        }
        if let Some(found) = this.types.get(name) {
            return Target::Type(*found);
        }
        if let Some(child) = this.children.get(name) {
            return Target::Module(*child);
        }
        if this.constants.contains_key(name) {
            return Target::Constant;
        }
        for path in this.uses.get(name).into_iter().flatten() {
            // `use a::a`: the name is not looked for in the import itself.
            let found = if path.first().map(String::as_str) == Some(name) {
                self.foreign_or_library(module, path, depth + 1)
            } else {
                self.resolve_in(module, path, depth + 1)
            };
            match found {
                Target::Unknown | Target::Globbed(..) => {}
                found => return found,
            }
        }
        for glob in &this.globs {
            // Two modules that import each other whole end here.
            if depth > DEPTH_MAX / 2 {
                break;
            }
            match self.resolve_in(module, glob, depth + 1) {
                Target::Module(other) if other != module => match self.own(other, name, more_follows, depth + 2) {
                    Target::Unknown => {}
                    found => return found,
                },
                Target::Type(id) if self.types[id].variants.contains(name) => return Target::Member(id, name.to_owned()),
                _ => {}
            }
        }
        Target::Unknown
    }

    /// Goes on from what the first part of a path has named.
    fn below(&self, mut target: Target, path: &[String], depth: usize) -> Target {
        for (at, name) in path.iter().enumerate() {
            let more_follows = at + 1 < path.len();
            target = match target {
                Target::Module(module) => match self.own(module, name, more_follows, depth + 1) {
                    Target::Unknown => return Target::Unknown,
                    found => found,
                },
                Target::Type(id) => match self.alias(id, depth) {
                    Some(aliased) => return self.below(aliased, &path[at..], depth + 1),
                    None => Target::Member(id, name.clone()),
                },
                Target::Foreign(prefix) => Target::Foreign(rules::canonical(&format!("{prefix}::{name}"))),
                other => return if more_follows { Target::Unknown } else { other },
            };
        }
        match target {
            Target::Type(id) => self.alias(id, depth).unwrap_or(Target::Type(id)),
            other => other,
        }
    }

    /// What an alias stands for.
    fn alias(&self, id: TypeId, depth: usize) -> Option<Target> {
        let path = self.types[id].alias.as_ref()?;
        Some(self.resolve_in(self.types[id].module, path, depth + 1))
    }

    /// The module, not a block in it.
    fn real(&self, mut module: ModuleId) -> ModuleId {
        while let Some(parent) = self.modules[module].parent.filter(|_| self.modules[module].is_block) {
            module = parent;
        }
        module
    }

    fn root(&self, mut module: ModuleId) -> ModuleId {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }
}
