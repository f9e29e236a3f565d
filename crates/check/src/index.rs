//! The items of all crates: types, functions, methods, statics, macros, and what each module sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use proc_macro2::TokenStream;
use syn::{Attribute, Block, Expr, FnArg, ImplItem, Item, ItemImpl, Signature, TraitItem, Type, UseTree, visit::Visit};

use crate::{
    Note,
    load::{File, RawModule, Sources},
    names::{FuncId, Module, ModuleId, Target},
    types::Ty,
};

pub(crate) type TypeId = usize;
pub(crate) type StaticId = usize;

/// The contexts that the SDK hands to workflow code and to nothing else.
const CONTEXTS: &[&str] = &["WorkflowContext", "SyncWorkflowContext", "WorkflowContextView", "BaseWorkflowContext"];
/// The methods of `#[workflow_methods]` that the SDK calls.
const ENTRIES: &[&str] = &["init", "run", "signal", "query", "update", "update_validator"];

/// A struct, enum, union, trait or alias.
pub(crate) struct TypeDef {
    pub(crate) module: ModuleId,
    pub(crate) file: usize,
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, Type>,
    /// Types of all fields, of all variants.
    pub(crate) parts: Vec<Type>,
    pub(crate) variants: BTreeSet<String>,
    pub(crate) alias: Option<Vec<String>>,
    pub(crate) generics: Vec<String>,
    pub(crate) is_trait: bool,
    pub(crate) is_workflow: bool,
}

/// What a function is to the SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Called by the SDK in a workflow, or given a workflow's context.
    Workflow,
    /// Part of `#[activities]`.
    Activity,
    Test,
    Plain,
}

#[derive(Clone)]
pub(crate) enum Body {
    Block(Rc<Block>),
    /// The beginning of a static.
    Expr(Rc<Expr>),
    /// The right sides of a `macro_rules!`.
    Tokens(TokenStream),
    /// Types of the fields of a workflow.
    Types(Vec<Type>),
}

#[derive(Clone)]
pub(crate) struct Func {
    pub(crate) module: ModuleId,
    pub(crate) file: usize,
    /// As told: `Order::run`.
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) self_type: Option<Ty>,
    pub(crate) generics: BTreeSet<String>,
    pub(crate) signature: Option<Rc<Signature>>,
    pub(crate) body: Body,
    pub(crate) role: Role,
    /// A method of a trait: the trait's own, or an implementation.
    pub(crate) of_trait: bool,
}

pub(crate) struct StaticDef {
    pub(crate) module: ModuleId,
    pub(crate) name: String,
    pub(crate) ty: Option<Type>,
    pub(crate) is_mutable: bool,
    /// What it begins with, if that is run when it is first used.
    pub(crate) begins: Option<FuncId>,
}

/// Of which type a method is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TypeKey {
    Local(TypeId),
    Foreign(String),
}

#[derive(Debug)]
pub(crate) struct KrateInfo {
    pub(crate) renames: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct Index {
    pub(crate) files: Vec<File>,
    pub(crate) notes: Vec<Note>,
    pub(crate) crates: Vec<KrateInfo>,
    /// Roots of libraries, by name.
    pub(crate) libraries: BTreeMap<String, ModuleId>,
    pub(crate) modules: Vec<Module>,
    pub(crate) types: Vec<TypeDef>,
    pub(crate) funcs: Vec<Func>,
    pub(crate) statics: Vec<StaticDef>,
    pub(crate) methods: BTreeMap<(TypeKey, String), Vec<FuncId>>,
    /// All methods, by name.
    pub(crate) methods_by_name: BTreeMap<String, Vec<FuncId>>,
    /// `macro_rules!`, by name.
    pub(crate) macros: BTreeMap<String, Vec<FuncId>>,
    /// Fields of workflows.
    pub(crate) states: Vec<FuncId>,
}

/// Implementations and traits wait until all names are known.
enum Later {
    Impl(ModuleId, usize, ItemImpl),
    Trait(ModuleId, usize, TypeId, syn::ItemTrait),
    /// A function's signature is looked at for contexts.
    Function(FuncId),
}

impl Index {
    pub(crate) fn build(sources: Sources) -> Self {
        let Sources { files, crates, notes } = sources;
        let mut index = Self { files, notes, ..Self::default() };
        let mut later = Vec::new();
        for krate in crates {
            index.crates.push(KrateInfo { renames: krate.renames });
            let root = index.module(krate.root, index.crates.len() - 1, None, &mut later);
            if krate.is_library {
                index.libraries.insert(krate.name, root);
            }
        }
        // Methods may have items of their own.
        while !later.is_empty() {
            for one in std::mem::take(&mut later) {
                match one {
                    Later::Impl(module, file, item) => index.implementation(module, file, &item, &mut later),
                    Later::Trait(module, file, id, item) => index.trait_methods(module, file, id, &item, &mut later),
                    Later::Function(id) => index.look_for_contexts(id),
                }
            }
        }
        index.workflow_states();
        index
    }

    fn module(&mut self, raw: RawModule, krate: usize, parent: Option<ModuleId>, later: &mut Vec<Later>) -> ModuleId {
        let id = self.modules.len();
        self.modules.push(Module { krate, parent, ..Module::default() });
        for child in raw.children {
            let name = child.name.clone();
            let child = self.module(child, krate, Some(id), later);
            self.modules[id].children.insert(name, child);
        }
        for item in raw.items {
            self.item(id, raw.file, item, later);
        }
        id
    }

    fn item(&mut self, module: ModuleId, file: usize, item: Item, later: &mut Vec<Later>) {
        match item {
            Item::Use(item) => {
                let prefix = if item.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
                self.import(module, prefix, &item.tree);
            }
            Item::ExternCrate(item) => {
                let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name).to_string();
                self.modules[module].uses.entry(name).or_default().push(vec![String::new(), item.ident.to_string()]);
            }
            Item::Fn(item) => {
                let role = if is_test(&item.attrs) { Role::Test } else { Role::Plain };
                let name = item.sig.ident.to_string();
                let func = new_func(module, file, name.clone(), item.sig, &item.block, role);
                let id = self.function(func, later);
                self.modules[module].functions.insert(name, id);
            }
            Item::Struct(item) => {
                let mut def = self.type_def(module, file, &item.ident, &item.generics);
                def.is_workflow = item.attrs.iter().any(|attribute| self.attribute_is(module, attribute, "workflow"));
                add_fields(&mut def, &item.fields);
                self.add_type(module, def);
            }
            Item::Enum(item) => {
                let mut def = self.type_def(module, file, &item.ident, &item.generics);
                for variant in &item.variants {
                    def.variants.insert(variant.ident.to_string());
                    def.parts.extend(variant.fields.iter().map(|field| field.ty.clone()));
                }
                self.add_type(module, def);
            }
            Item::Type(item) => {
                let mut def = self.type_def(module, file, &item.ident, &item.generics);
                if let Type::Path(path) = &*item.ty {
                    def.alias = Some(segments(&path.path));
                }
                self.add_type(module, def);
            }
            Item::Trait(item) => {
                let mut def = self.type_def(module, file, &item.ident, &item.generics);
                def.is_trait = true;
                let id = self.add_type(module, def);
                later.push(Later::Trait(module, file, id, item));
            }
            Item::Impl(item) => later.push(Later::Impl(module, file, item)),
            Item::Const(item) => drop(self.modules[module].constants.insert(item.ident.to_string(), ())),
            Item::Static(item) => {
                let is_mutable = matches!(item.mutability, syn::StaticMutability::Mut(_));
                self.add_static(module, file, item.ident.to_string(), Some(*item.ty), is_mutable, Some(*item.expr));
            }
            Item::Macro(item) => self.macro_item(module, file, item),
            _ => {}
        }
    }

    fn type_def(&self, module: ModuleId, file: usize, name: &syn::Ident, generics: &syn::Generics) -> TypeDef {
        TypeDef {
            module,
            file,
            name: name.to_string(),
            fields: BTreeMap::new(),
            parts: Vec::new(),
            variants: BTreeSet::new(),
            alias: None,
            generics: generics.type_params().map(|param| param.ident.to_string()).collect(),
            is_trait: false,
            is_workflow: false,
        }
    }

    fn add_type(&mut self, module: ModuleId, def: TypeDef) -> TypeId {
        let id = self.types.len();
        self.modules[module].types.insert(def.name.clone(), id);
        self.types.push(def);
        id
    }

    fn add_static(&mut self, module: ModuleId, file: usize, name: String, ty: Option<Type>, is_mutable: bool, begins: Option<Expr>) {
        let begins = begins.map(|expr| {
            self.funcs.push(Func {
                module,
                file,
                name: format!("static {name}"),
                first: 0,
                last: 0,
                self_type: None,
                generics: BTreeSet::new(),
                signature: None,
                body: Body::Expr(Rc::new(expr)),
                role: Role::Plain,
                of_trait: false,
            });
            self.funcs.len() - 1
        });
        self.modules[module].statics.insert(name.clone(), self.statics.len());
        self.statics.push(StaticDef { module, name, ty, is_mutable, begins });
    }

    /// `macro_rules!`, and the macros that make statics.
    fn macro_item(&mut self, module: ModuleId, file: usize, item: syn::ItemMacro) {
        let called = item.mac.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let Some(name) = item.ident else {
            let thread_local = called == "thread_local";
            if thread_local || called == "lazy_static" {
                for (name, ty) in statics_in(item.mac.tokens) {
                    self.add_static(module, file, name, ty, thread_local, None);
                }
            }
            return;
        };
        self.funcs.push(Func {
            module,
            file,
            name: format!("{name}!"),
            first: name.span().start().line,
            last: item.mac.tokens.clone().into_iter().last().map_or(0, |token| token.span().end().line),
            self_type: None,
            generics: BTreeSet::new(),
            signature: None,
            body: Body::Tokens(right_sides(item.mac.tokens)),
            role: Role::Plain,
            of_trait: false,
        });
        self.macros.entry(name.to_string()).or_default().push(self.funcs.len() - 1);
    }

    /// Adds a function, and the items in its body as those of a block.
    fn function(&mut self, mut func: Func, later: &mut Vec<Later>) -> FuncId {
        if let Body::Block(block) = &func.body {
            let mut inner = InnerItems::default();
            inner.visit_block(block);
            if !inner.items.is_empty() {
                let id = self.modules.len();
                let krate = self.modules[func.module].krate;
                self.modules.push(Module { krate, parent: Some(func.module), is_block: true, ..Module::default() });
                for item in inner.items {
                    self.item(id, func.file, item, later);
                }
                func.module = id;
            }
        }
        let id = self.funcs.len();
        self.funcs.push(func);
        later.push(Later::Function(id));
        id
    }

    fn import(&mut self, module: ModuleId, mut prefix: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(plain(&path.ident));
                self.import(module, prefix, &path.tree);
            }
            UseTree::Name(name) => {
                let name = plain(&name.ident);
                let known = if name == "self" { prefix.last().cloned().unwrap_or_default() } else { name.clone() };
                if name != "self" {
                    prefix.push(name);
                }
                self.modules[module].uses.entry(known).or_default().push(prefix);
            }
            UseTree::Rename(rename) => {
                let name = plain(&rename.ident);
                if name != "self" {
                    prefix.push(name);
                }
                self.modules[module].uses.entry(plain(&rename.rename)).or_default().push(prefix);
            }
            UseTree::Glob(_) => self.modules[module].globs.push(prefix),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(module, prefix.clone(), tree);
                }
            }
        }
    }

    fn implementation(&mut self, module: ModuleId, file: usize, item: &ItemImpl, later: &mut Vec<Later>) {
        let is = |name| item.attrs.iter().any(|attribute| self.attribute_is(module, attribute, name));
        let (workflow, activities) = (is("workflow_methods"), is("activities") || is("activity_definitions"));
        let generics: BTreeSet<String> = item.generics.type_params().map(|param| param.ident.to_string()).collect();
        let self_type = self.ty(module, None, &generics, &item.self_ty);
        let (key, shown) = match &self_type {
            Ty::Local(id, _) => (Some(TypeKey::Local(*id)), self.types[*id].name.clone()),
            Ty::Foreign(path, _) => (Some(TypeKey::Foreign(path.clone())), path.rsplit("::").next().unwrap_or_default().to_owned()),
            _ => (None, "impl".to_owned()),
        };
        if let (true, Ty::Local(id, _)) = (workflow, &self_type) {
            self.types[*id].is_workflow = true;
        }
        let is_workflow_type = matches!(&self_type, Ty::Local(id, _) if self.types[*id].is_workflow);
        let of_trait = item.trait_.as_ref().map(|(_, path, _)| segments(path));
        let is_default = of_trait.as_ref().is_some_and(|path| path.last().is_some_and(|name| name == "Default"));
        for method in &item.items {
            let ImplItem::Fn(method) = method else { continue };
            let entry = method.attrs.iter().any(|attribute| ENTRIES.iter().any(|entry| attribute.path().is_ident(entry)));
            let role = match () {
                () if workflow && entry || is_default && is_workflow_type => Role::Workflow,
                () if activities => Role::Activity,
                () if is_test(&method.attrs) => Role::Test,
                () => Role::Plain,
            };
            let name = method.sig.ident.to_string();
            let mut func = new_func(module, file, format!("{shown}::{name}"), method.sig.clone(), &method.block, role);
            func.self_type = Some(self_type.clone());
            func.generics.extend(generics.iter().cloned());
            func.of_trait = of_trait.is_some();
            let id = self.function(func, later);
            if let Some(key) = key.clone() {
                self.methods.entry((key, name.clone())).or_default().push(id);
            }
            // A trait of ours is asked for all its implementations.
            if let Some(Target::Type(of_trait)) = of_trait.as_ref().map(|path| self.resolve(module, path)) {
                self.methods.entry((TypeKey::Local(of_trait), name.clone())).or_default().push(id);
            }
            self.methods_by_name.entry(name).or_default().push(id);
        }
    }

    fn trait_methods(&mut self, module: ModuleId, file: usize, of: TypeId, item: &syn::ItemTrait, later: &mut Vec<Later>) {
        for method in &item.items {
            let TraitItem::Fn(method) = method else { continue };
            let Some(block) = &method.default else { continue };
            let name = method.sig.ident.to_string();
            let mut func = new_func(module, file, format!("{}::{name}", item.ident), method.sig.clone(), block, Role::Plain);
            func.self_type = Some(Ty::Local(of, Vec::new()));
            func.of_trait = true;
            let id = self.function(func, later);
            self.methods.entry((TypeKey::Local(of), name.clone())).or_default().push(id);
            self.methods_by_name.entry(name).or_default().push(id);
        }
    }

    /// A function that is given a workflow's context is workflow code, whoever calls it.
    fn look_for_contexts(&mut self, id: FuncId) {
        let func = &self.funcs[id];
        let Some(signature) = func.signature.clone().filter(|_| func.role == Role::Plain) else { return };
        let mut contexts = Contexts { index: self, module: func.module, found: false };
        for argument in &signature.inputs {
            if let FnArg::Typed(argument) = argument {
                contexts.visit_type(&argument.ty);
            }
        }
        if contexts.found {
            self.funcs[id].role = Role::Workflow;
        }
    }

    fn workflow_states(&mut self) {
        for id in 0..self.types.len() {
            let def = &self.types[id];
            if !def.is_workflow || def.parts.is_empty() {
                continue;
            }
            let func = Func {
                module: def.module,
                file: def.file,
                name: def.name.clone(),
                first: 0,
                last: 0,
                self_type: Some(Ty::Local(id, Vec::new())),
                generics: def.generics.iter().cloned().collect(),
                signature: None,
                body: Body::Types(def.parts.clone()),
                role: Role::Plain,
                of_trait: false,
            };
            self.states.push(self.funcs.len());
            self.funcs.push(func);
        }
    }

    /// An attribute of the SDK, under whatever name it is imported.
    fn attribute_is(&self, module: ModuleId, attribute: &Attribute, name: &str) -> bool {
        let path = segments(attribute.path());
        if path.last().is_some_and(|last| last == name) {
            return true;
        }
        matches!(self.resolve(module, &path), Target::Foreign(found) if found.ends_with(&format!("::{name}")))
    }
}

struct Contexts<'a> {
    index: &'a Index,
    module: ModuleId,
    found: bool,
}

impl<'ast> Visit<'ast> for Contexts<'_> {
    fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
        let named = path.path.segments.last().is_some_and(|last| CONTEXTS.iter().any(|context| last.ident == context));
        if named && !matches!(self.index.resolve(self.module, &segments(&path.path)), Target::Type(_)) {
            self.found = true;
        }
        syn::visit::visit_type_path(self, path);
    }
}

/// Items in the blocks of a function, not those within such items.
#[derive(Default)]
struct InnerItems {
    items: Vec<Item>,
}

impl<'ast> Visit<'ast> for InnerItems {
    fn visit_item(&mut self, item: &'ast Item) {
        self.items.push(item.clone());
    }
}

fn new_func(module: ModuleId, file: usize, name: String, signature: Signature, block: &Block, role: Role) -> Func {
    Func {
        module,
        file,
        name,
        first: signature.fn_token.span.start().line,
        last: block.brace_token.span.close().end().line,
        self_type: None,
        generics: signature.generics.type_params().map(|param| param.ident.to_string()).collect(),
        signature: Some(Rc::new(signature)),
        body: Body::Block(Rc::new(block.clone())),
        role,
        of_trait: false,
    }
}

fn add_fields(def: &mut TypeDef, fields: &syn::Fields) {
    for (at, field) in fields.iter().enumerate() {
        let name = field.ident.as_ref().map_or_else(|| at.to_string(), plain);
        def.fields.insert(name, field.ty.clone());
        def.parts.push(field.ty.clone());
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().segments.last().is_some_and(|segment| segment.ident == "test"))
}

pub(crate) fn plain(ident: &syn::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

/// The names of a path; one that begins with `::` has an empty name first.
pub(crate) fn segments(path: &syn::Path) -> Vec<String> {
    let leading = path.leading_colon.is_some().then(String::new);
    leading.into_iter().chain(path.segments.iter().map(|segment| plain(&segment.ident))).collect()
}

/// What the rules of a `macro_rules!` expand to.
fn right_sides(tokens: TokenStream) -> TokenStream {
    let mut after_arrow = false;
    let mut out = TokenStream::new();
    let mut equals = false;
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Punct(punct) => {
                after_arrow = equals && punct.as_char() == '>';
                equals = punct.as_char() == '=';
            }
            proc_macro2::TokenTree::Group(group) if after_arrow => {
                out.extend(group.stream());
                out.extend([proc_macro2::TokenTree::Punct(proc_macro2::Punct::new(';', proc_macro2::Spacing::Alone))]);
                after_arrow = false;
            }
            _ => {}
        }
    }
    out
}

/// `static NAME: Type = …;` and `static ref NAME: Type = …;` of macros that make statics.
fn statics_in(tokens: TokenStream) -> Vec<(String, Option<Type>)> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut out = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at].to_string() != "static" {
            continue;
        }
        let name_at = if tokens.get(at + 1).is_some_and(|token| token.to_string() == "ref") { at + 2 } else { at + 1 };
        let Some(name) = tokens.get(name_at) else { continue };
        let is_end = |token: &&proc_macro2::TokenTree| matches!(token.to_string().as_str(), "=" | ";");
        let ty: TokenStream = tokens.iter().skip(name_at + 2).take_while(|token| !is_end(token)).cloned().collect();
        out.push((name.to_string(), syn::parse2(ty).ok()));
    }
    out
}
