//! The texts of the statements that are sent all the time.

use super::group::PARAMETERS;

/// Calls of the functions of one schema.
pub(super) struct Statements {
    pub(super) commit: String,
    pub(super) acquire: String,
    pub(super) give: String,
    pub(super) get: String,
    pub(super) scan: String,
    pub(super) stream: String,
}

impl Statements {
    pub(super) fn new(schema: &str) -> Self {
        let rows: String = (4..4 + PARAMETERS).map(|number| format!(",${number}")).collect();
        let s = format!("\"{schema}\"");
        Self {
            commit: format!("SELECT {s}.commit_1($1,$2,$3{rows})"),
            acquire: format!("SELECT o_epoch, o_seq, o_member FROM {s}.acquire_1($1, $2::text::uuid)"),
            give: format!("SELECT {s}.give_2($1::text::uuid, $2, $3, $4::text::uuid)"),
            get: format!("SELECT k, v FROM {s}.get_1($1, $2)"),
            scan: format!("SELECT k, v FROM {s}.scan_1($1, $2, $3, $4, $5)"),
            stream: format!("SELECT k, v FROM {s}.stream_1($1, $2, $3, $4, $5)"),
        }
    }
}
