'''Readers of raw data: one module a format, and nothing else in this folder.

A reader is one file. Its name is the format's, it is found by being here, and it declares all there is to know of it:

    """Weibo posts in JSON Lines: weibo_text, user."""

    from collections.abc import Iterator
    from pathlib import Path

    from tasks.data.rows import Drop, Row
    from tasks.formats.fields import as_text, meta_of, unknown_schema
    from tasks.formats.records import read_rows
    from tasks.formats.registry import Reader, Record

    def read(path: Path) -> Iterator[Row | Drop]:
        """Documents, one a post; meta: user."""
        yield from read_rows(path, READER)

    def row(record: Record) -> Row | Drop:
        """A post as a document; a post without words is dropped."""
        if "weibo_text" not in record:
            return unknown_schema(record)
        text = as_text(record["weibo_text"]).strip()
        return {"title": "", "text": text, "lang": "", "meta": meta_of(record, names=["user"])} if text else Drop("no text")

    READER = Reader(
        description="Weibo posts: weibo_text, user",
        kind="documents",
        expects="a file with weibo_text",
        rarity=70,
        read=read,
        row=row,
    )

`READER` is a `tasks.formats.registry.Reader`, field by field:

`description`  for people: whose files these are, and the fields by which to know them. `hanlin sniff` lists it.
`kind`         kind of the rows that it yields (`tasks.data.rows.SCHEMAS`): documents, conversations, preferences, questions or triples.
`expects`      container and fields in words, for the error "… was expected, but it is JSON Lines with …".
`rarity`       from 0 (any text) to 100 (fields that no other format has). A file that several formats can read is said to be of the rarest.
`read`         `read(path)` yields rows without `id` and `source`, in file order, holding a few rows in memory at a time. A row that is no good
               is a `Drop` with its reason; a file that is no good raises `BrokenFile`. A reader of records leaves it to
               `formats.records.read_rows`, which opens the container, calls `row`, and says what the file is if it is of another format.
`row`          one record → one row, or a `Drop`; `formats.fields.unknown_schema(record)` where the fields are not those of this format. The
               sniffer tries it on the first records of any file, so it must not fail on fields that it does not know. None: there are no records.
`containers`   what its files come in: some of `TABLES` (the default is all of them), and what `tasks.files.opening.what_is` calls files without
               records, such as "a text file". Compression is undone for every reader.
`named`        True: rows depend on the file's name, not only on its bytes.
`joined`       True: a row is made of several files; then it is `read(path, beside)`, with all files of the source.
`titled`       True: a question is a title and what stands below it, of which `ingest` keeps the longer where both say the same.
`cuts`         True: files of it may be text without records, which is cut into documents: `read(path, cut, longest)`.
`columns`      names of the fields that it knows, which a source may map to those of its files (`columns` in a recipe). Empty: any name is taken.

Another package offers its readers as entry points of the group `hanlin.readers`, name = format, value = module:

    [project.entry-points."hanlin.readers"]
    weibo = "weibo_reader.posts"

What several readers share stands in `tasks/formats` (registry, sniffer, rows out of records, dialogues) and `tasks/files` (containers).
'''
