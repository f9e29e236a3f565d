//! Retry arithmetic and decisions for activities and workflows (spec 03 §6, 01 §8).
