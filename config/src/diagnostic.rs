//! Errors in what people wrote, shown with the lines they wrote.
