"""The report that people look at: one self-contained HTML page made of the records of a finished run.

    records   what a report is made of
    markup    text to HTML, escaped by default; numbers; tables
    charts    figures for plotly, their labels escaped
    page      the document: contents, scripts, Content-Security-Policy
    sections  one module a group of sections
    build     the sections in their order

Not here: computing any figure that is shown; storing and attaching the page (`pipeline.io_managers`, `pipeline.tracking`).
"""
