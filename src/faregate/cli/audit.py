"""``faregate audit verify|prove|consistency|list|key``: looks at an audit tree, or a copy of its files,
without the gateway and with the public key alone.

Exit status 0: it is as it was signed, or what was asked for is there; 1: it is not; 2: wrong usage.
"""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from faregate.records.audit.note import Verifier

SHOWN_MAX: Final = 10_000

commands = typer.Typer(
    help="Verify the audit tree, prove what stands in it, and look at its records.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Option(help="The configuration file, whose gateway.data holds the tree.")]
Folder = Annotated[
    Path | None, typer.Option(help="A data folder, an audit folder or a copy of one, in place of the file.")
]
Key = Annotated[
    str, typer.Option(help="The verifier key, or a file of it; left out: the tree's own key.pub.")
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
DEFAULT: Final = Path("faregate.yaml")


@commands.command("verify")
def verify_tree(  # noqa: PLR0913, PLR0917 - one value per option
    published: Annotated[
        Path | None,
        typer.Option(help="Checkpoints kept elsewhere: a file, or the folder of gateway.audit.publish."),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="Check this proof instead, of `audit prove` or `audit consistency`.")
    ] = None,
    key: Key = "",
    config: Config = DEFAULT,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Check every record, link, root and checkpoint; name the first record that is wrong."""
    if proof is not None:
        _check_proof(proof, key, config, folder, json=json)
        return
    from faregate.cli.audit_words import as_object, in_words
    from faregate.records.audit.reading import ReadError
    from faregate.records.audit.verifying import verify

    tree = _tree(config, folder)
    verifier = _verifier(key, tree, "" if json else "verify")
    try:
        verified = verify(tree, verifier, published)
    except ReadError as error:
        raise _failed(str(error)) from None
    print(json_text.dumps(as_object(verified, verifier)) if json else "\n".join(in_words(verified, verifier)))
    if verified.fault is not None:
        raise typer.Exit(1)


@commands.command("prove")
def prove_record(
    id: Annotated[  # noqa: A002 - the word on the command line
        str, typer.Argument(help="A record's number, leaf hash or object, or a call's id.")
    ],
    key: Key = "",
    config: Config = DEFAULT,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Prove that a record stands in the last signed tree; --json prints what another can check."""
    import msgspec

    from faregate.records.audit.note import NoteError
    from faregate.records.audit.proving import ProofError, find, prove
    from faregate.records.audit.reading import ReadError

    tree = _tree(config, folder)
    verifier = _verifier(key, tree)
    try:
        found = find(tree, id)
        if not found:
            raise _failed(f"no record is {id!r}")
        if len(found) > 1:
            raise _failed(f"records {', '.join(map(str, found))} are about {id!r}: name one of them")
        proof = prove(tree, verifier, found[0])
    except (ProofError, ReadError, NoteError) as error:
        raise _failed(str(error)) from None
    if json:
        print(msgspec.json.encode(proof).decode())
        return
    print(proof.record)
    count = len(proof.proof)
    print(f"\nstands as record {proof.index} in the tree of this checkpoint; the proof has {count} hashes:\n")
    print("\n".join(proof.proof) + "\n" if proof.proof else "", end="")
    print(f"\n{proof.checkpoint}", end="")


@commands.command("consistency")
def prove_consistent(  # noqa: PLR0913, PLR0917 - one value per option
    old: Annotated[str, typer.Argument(help="A size, or a file with a checkpoint kept before.")],
    new: Annotated[str, typer.Argument(help="A size, a file with a checkpoint, or `last`.")] = "last",
    key: Key = "",
    config: Config = DEFAULT,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Prove that the tree of NEW begins with that of OLD: nothing was taken out or changed since."""
    import msgspec

    from faregate.cli.audit_words import Side, consistent
    from faregate.records.audit.note import NoteError
    from faregate.records.audit.proving import ProofError
    from faregate.records.audit.reading import ReadError

    tree = _tree(config, folder)
    verifier = _verifier(key, tree)
    try:
        proof = consistent(tree, Side.read(old, tree, verifier), Side.read(new, tree, verifier))
    except (ProofError, ReadError, NoteError) as error:
        raise _failed(str(error)) from None
    if json:
        print(msgspec.json.encode(proof).decode())
        return
    print(f"the tree of {proof.size} records begins with that of {proof.old_size}:\n")
    print(f"old root  {proof.old_root}\nnew root  {proof.root}")
    print("".join(f"proof     {one}\n" for one in proof.proof), end="")


@commands.command("list")
def list_records(  # noqa: PLR0913, PLR0917 - one value per option
    type: Annotated[str, typer.Option(help="Only this type, or those below it: `call`, `revision`.")] = "",  # noqa: A002
    actor: Annotated[str, typer.Option(help="Only what this actor did.")] = "",
    object: Annotated[str, typer.Option(help="Only what was done to this object.")] = "",  # noqa: A002
    limit: Annotated[int, typer.Option(min=1, max=SHOWN_MAX, help="So many at most, the newest.")] = 100,
    config: Config = DEFAULT,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """List records, the newest last."""
    from faregate.cli.audit_words import selected, table
    from faregate.records.audit.reading import ReadError

    try:
        records, more = selected(_tree(config, folder), type, actor, object, limit)
    except ReadError as error:
        raise _failed(str(error)) from None
    if json:
        listed = ",".join(line.decode() for line in records)
        print(f'{{"records":[{listed}],"more":{json_text.dumps(more)}}}')
        return
    if records:
        print("\n".join(table(records)))
    told = f"{len(records)} record{'' if len(records) == 1 else 's'}"
    print(f"{told}; there are more, see --limit" if more else told, file=sys.stderr)


@commands.command("key")
def show_key(config: Config = DEFAULT, folder: Folder = None, json: Json = False) -> None:
    """Print the public key, for whoever shall verify the tree."""
    verifier = _verifier("", _tree(config, folder))
    if json:
        print(json_text.dumps({"name": verifier.name, "id": verifier.id.hex(), "key": verifier.line}))
    else:
        print(verifier.line)


def _check_proof(path: Path, key: str, config: Path, folder: Path | None, *, json: bool) -> None:
    from faregate.records.audit.proving import Inclusion, ProofError, check

    try:
        content = path.read_bytes()
    except OSError as error:
        raise _failed(f"{path}: {error.strerror}") from None
    verifier = _verifier(key, None if key else _tree(config, folder))
    try:
        proof = check(content, verifier)
    except ProofError as error:
        if json:
            print(json_text.dumps({"ok": False, "message": str(error)}))
            raise typer.Exit(1) from None
        raise _failed(f"{path}: {error}") from None
    if isinstance(proof, Inclusion):
        told = f"record {proof.index} stands in the signed tree of {verifier.name}"
    else:
        told = f"the signed tree of {proof.size} records begins with that of {proof.old_size}"
    print(json_text.dumps({"ok": True, "message": told}) if json else told)


def _tree(config: Path, folder: Path | None) -> Path:
    """The folder of the tree. Raises CommandError."""
    from faregate.records.audit.reading import ReadError, tree_folder

    if folder is None:
        if not config.exists():
            raise _failed(
                f"no such file: {config}; --folder names a data folder or a copy of an audit tree", 2
            )
        from faregate.cli.ledger_opening import place_of

        folder = place_of(config, None).data
    try:
        return tree_folder(folder)
    except ReadError as error:
        raise _failed(str(error)) from None


def _verifier(key: str, tree: Path | None, asked: str = "") -> "Verifier":
    """The public key that was given, else that of the tree itself. Raises CommandError."""
    from faregate.records.audit.note import NoteError, Verifier
    from faregate.records.audit.places import PUBLIC_KEY, read_verifier

    try:
        if key and not Path(key).is_file():
            if "+" not in key:
                raise _failed(f"--key: no such file: {key}; or give the key itself, name+id+key", 2)
            return Verifier.read(key)
        assert key or tree is not None
        path = Path(key) if key else (tree or Path()) / PUBLIC_KEY
        if asked and not key:
            print(f"by the key in {path}; an auditor gives --key, kept apart from the tree", file=sys.stderr)
        return read_verifier(path)
    except NoteError as error:
        raise _failed(f"--key: {error}" if key else str(error), 2 if key else 1) from None
    except OSError as error:
        raise _failed(f"{error.filename}: {error.strerror}") from None


def _failed(message: str, status: int = 1) -> Exception:
    from faregate.cli.errors import CommandError

    return CommandError(message, status)
