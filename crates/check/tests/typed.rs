//! The second look with types, on packages small enough to be compiled here: one that needs nothing but a stand-in for the SDK. What it
//! catches of the planted faults is in `planted.rs`, which compiles the SDK.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sempre_check::{Kind, TypedError, check, typed};

/// What the code under test needs of the SDK.
const SDK: &str = "pub struct WorkflowContext<T>(pub T);
impl<T> WorkflowContext<T> {
    pub fn headers(&self) -> std::collections::HashMap<String, u8> {
        Default::default()
    }
}
";

/// A package beside the stand-in; gone with this value.
struct Package(PathBuf);

impl Package {
    fn new(name: &str, code: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sempre-check-typed-{name}-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        let manifest = |name: &str, more: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}");
        write("sdk/Cargo.toml", &manifest("temporalio-sdk", ""));
        write("sdk/src/lib.rs", SDK);
        // A workspace of its own: the stand-in is foreign code, as the SDK is.
        write("orders/Cargo.toml", &manifest("orders", "[dependencies]\ntemporalio-sdk = { path = \"../sdk\" }\n[workspace]\n"));
        write("orders/src/lib.rs", code);
        Self(folder)
    }

    fn orders(&self) -> PathBuf {
        self.0.join("orders")
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // A left-over in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the walk finds, and what is found with types.
fn lines(package: &Path) -> [Vec<(usize, Kind)>; 2] {
    let mut report = check(&[package.to_owned()]).expect("it can be read");
    let told = |report: &sempre_check::Report| report.findings.iter().map(|found| (found.line, found.kind)).collect::<Vec<_>>();
    let walk = told(&report);
    assert_eq!((report.allowed, report.notes.len()), (0, 1), "the comment allows what only types tell: {report:?}");
    typed(&[package.to_owned()], &mut report).expect("it compiles");
    assert_eq!((report.allowed, report.notes.len()), (1, 0), "{report:?}");
    [walk, told(&report)]
}

#[test]
fn what_only_types_tell_is_found_in_workflow_code_and_nowhere_else() {
    let code = "use temporalio_sdk::WorkflowContext;

pub fn helper(ctx: &WorkflowContext<u8>) -> usize {
    let _ = std::time::Instant::now();
    ctx.headers().keys().count()
}

pub fn allowed(ctx: &WorkflowContext<u8>) -> usize {
    ALLOW
    ctx.headers().keys().count()
}

pub fn activity(of: std::collections::HashMap<String, u8>) -> usize {
    let _ = std::time::Instant::now();
    of.keys().count()
}
";
    let package = Package::new("found", &code.replace("ALLOW", "// sempre: allow(unordered) only how many there are"));
    let [walk, with_types] = lines(&package.orders());
    assert_eq!(walk, [(4, Kind::Clock)]);
    assert_eq!(with_types, [(4, Kind::Clock), (5, Kind::Unordered)]);
    // The same again: what has been compiled is not forgotten.
    assert_eq!(lines(&package.orders())[1], [(4, Kind::Clock), (5, Kind::Unordered)]);
}

#[test]
fn what_does_not_compile_is_told() {
    let package = Package::new("broken", "pub fn helper(ctx: &temporalio_sdk::WorkflowContext<u8>) -> usize { ctx.nothing() }\n");
    let mut report = check(&[package.orders()]).expect("it can be parsed");
    let failed = typed(&[package.orders()], &mut report).expect_err("it has no such method");
    let text = failed.to_string();
    assert!(matches!(failed, TypedError::Failed { .. }) && text.starts_with("cargo clippy did not get through"), "{text}");
    assert!(text.contains("no method named `nothing`") && text.contains("could not compile `orders`"), "{text}");
    let alone = typed(&[package.orders().join("src")], &mut report).expect_err("a folder without a manifest");
    assert!(matches!(alone, TypedError::NoPackage(_)), "{alone}");
}

#[test]
#[ignore = "compiles the official SDK: cargo test -p sempre-check -- --ignored"]
fn nothing_is_found_in_the_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders");
    let mut report = check(std::slice::from_ref(&example)).expect("it can be read");
    assert!(report.workflows > 0, "{report:?}");
    typed(&[example], &mut report).expect("it compiles");
    assert!(report.findings.is_empty() && !report.is_undecided(), "{report:?}");
}
