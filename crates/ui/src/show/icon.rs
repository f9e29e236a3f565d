//! Small drawings beside words. They say nothing that the words do not.

use maud::{Markup, html};

/// Each on 16 by 16, drawn with a line.
const DRAWN: [(&str, &str); 13] = [
    ("workflows", "M2.5 4h11M2.5 8h11M2.5 12h7"),
    ("attention", "M8 2.5 14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1"),
    ("activities", "M2 8h3l2-5 3 10 2-5h2"),
    ("alerts", "M3.5 11.5V7a4.5 4.5 0 0 1 9 0v4.5l1 1.3h-11zM6.5 14.3h3"),
    ("schedules", "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8zM8 4.6V8l2.4 1.8"),
    ("task-queues", "M2 3.2h12v3H2zM2 9.8h12v3H2z"),
    ("workers", "M4.5 4.5h7v7h-7zM6.5 1.8v2.7M9.5 1.8v2.7M6.5 11.5v2.7M9.5 11.5v2.7M1.8 6.5h2.7M1.8 9.5h2.7M11.5 6.5h2.7M11.5 9.5h2.7"),
    ("worker-deployments", "M8 1.8 14 5 8 8.2 2 5zM2 8l6 3.2L14 8M2 11l6 3.2L14 11"),
    ("batch-operations", "M2 2h8v8H2zM6 12.5V14h8V6h-1.5"),
    ("copy", "M2.5 2.5h8v8h-8zM5.5 13.5h8v-8"),
    ("done", "M3 8.5 6.5 12 13 4.5"),
    ("settings", "M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M10.5 3v3M5.5 10v3"),
    ("open", "M5 6.5 8 9.5l3-3"),
];

/// One of them.
pub(crate) fn icon(name: &str) -> Markup {
    let path = DRAWN.iter().find(|(known, _)| *known == name).map_or("", |(_, path)| path);
    html! {
        svg.icon viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round"
            aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}
