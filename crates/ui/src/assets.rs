//! The files of the pages, in the binary: one style sheet, two scripts, one icon. All of them written here.
//!
//! Each is asked for under a name with a hash of its text in it, so that browsers keep it for ever and a new version is
//! another name.

use std::{fs, io, path::Path};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::answer::with_type;

/// Name, type, text.
const BUILT_IN: [(&str, &str, &str); 4] = [
    ("app.css", "text/css; charset=utf-8", include_str!("assets/app.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("assets/app.js")),
    ("timeline.js", "text/javascript; charset=utf-8", include_str!("assets/timeline.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// The files of one server.
pub(crate) struct Assets(Vec<Asset>);

/// One file.
struct Asset {
    name: &'static str,
    /// `app.css` → `app-1a2b3c4d.css`.
    hashed: String,
    content_type: &'static str,
    text: Bytes,
}

impl Assets {
    /// Those of the program, or of a folder as far as it has them.
    pub(crate) fn load(folder: Option<&Path>) -> io::Result<Self> {
        let read = |name: &str, built_in: &'static str| match folder.map(|folder| folder.join(name)) {
            Some(path) if path.exists() => fs::read(&path)
                .map(Bytes::from)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))),
            _ => Ok(Bytes::from_static(built_in.as_bytes())),
        };
        let load = |(name, content_type, built_in): (&'static str, &'static str, &'static str)| {
            let text = read(name, built_in)?;
            let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
            Ok(Asset { name, hashed: format!("{stem}-{:08x}.{extension}", fnv(&text)), content_type, text })
        };
        BUILT_IN.into_iter().map(load).collect::<io::Result<_>>().map(Self)
    }

    /// The name under which a file is asked for.
    pub(crate) fn name(&self, of: &str) -> &str {
        self.0.iter().find(|asset| asset.name == of).map_or("", |asset| &asset.hashed)
    }

    /// The file by its name with the hash.
    pub(crate) fn answer(&self, given: &str) -> Option<Response<Bytes>> {
        let asset = self.0.iter().find(|asset| asset.hashed == given)?;
        let mut answer = with_type(StatusCode::OK, asset.content_type, asset.text.clone());
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        Some(answer)
    }

    /// The icon under the name that browsers try by themselves.
    pub(crate) fn icon(&self) -> Option<Response<Bytes>> {
        self.0.iter().find(|asset| asset.name == "icon.svg").map(|asset| with_type(StatusCode::OK, asset.content_type, asset.text.clone()))
    }
}

/// FNV-1a, folded: enough to tell two versions of a file apart.
fn fnv(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_hashed_names_only() {
        let assets = Assets::load(None).unwrap();
        for file in ["app.css", "app.js", "timeline.js", "icon.svg"] {
            let answer = assets.answer(assets.name(file)).expect("a file");
            assert!(!answer.body().is_empty() && answer.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        }
        assert!(assets.answer("app.css").is_none() && assets.answer("../app.css").is_none() && assets.name("x").is_empty());
    }

    #[test]
    fn a_folder_stands_in_for_what_it_has() {
        let folder = std::env::temp_dir().join(format!("sempre-assets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("app.css"), "p{}").unwrap();
        let assets = Assets::load(Some(&folder)).unwrap();
        assert_eq!(assets.answer(assets.name("app.css")).unwrap().body(), "p{}");
        assert!(!assets.answer(assets.name("app.js")).unwrap().body().is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }
}
