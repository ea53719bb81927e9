//! The one place that knows actix: hosts any machine, supervises it, performs its effects in order.
