"""TMHINT-QI and TMHINT-QI(S) in the layout of their owners: found, checked, labelled, split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from mtqscore.corpora import reference_labels
from mtqscore.corpora.corpus import Corpus, CorpusConfig
from mtqscore.corpora.reading import NAMED_CORPORA, read_corpus
from mtqscore.corpora.tmhint_names import parse_name
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.labels.table import FaultyTableError, LabelledRecording, read_label_table, write_label_table
from tests.test_imports import HEAVY, loaded_after
from tests.tmhint_miniature import sentence, write, write_tmhint_qi, write_tmhint_qi_s


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """A folder with both corpora as unpacked."""
    folder = tmp_path_factory.mktemp("corpora")
    write_tmhint_qi(folder)
    write_tmhint_qi_s(folder)
    return folder


@pytest.fixture
def own(published, tmp_path, monkeypatch) -> Path:
    """A copy to spoil, and a user without labels of earlier runs."""
    monkeypatch.setenv("MTQSCORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MTQSCORE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published, tmp_path / "data")
    return tmp_path / "data"


def read(root: Path, name: str = "tmhint-qi", **options: object) -> Corpus:
    return read_corpus(name, CorpusConfig(**{"data_root": root, "labels": "given", **options}))  # type: ignore[arg-type]


def by_stem(corpus: Corpus) -> dict[str, LabelledRecording]:
    return {row.path.stem: row for row in corpus.recordings}


def note(corpus: Corpus, word: str) -> str:
    (found,) = [text for text in corpus.notes if word in text]
    return found


@pytest.mark.parametrize(
    ("stem", "method", "snr_db", "noise", "sentence_of", "condition"),
    [
        ("DDAE_snr2_white_TMHINT_g4_22_02", "DDAE", 2, "white", "22_02", "DDAE-SNR2-white"),
        ("Trans_snr-2_white_TMHINT_b2_29_10", "Trans", -2, "white", "29_10", "Trans-SNR-2-white"),
        ("VoiceMOS2023Track3-Noisy_snr-2_street_TMHINT_g4_32_03", "Noisy", -2, "street", "32_03", "Noisy-SNR-2-street"),
        ("clean_TMHINT_b2_22_06", "clean", None, "", "22_06", "clean"),
        ("TMHINT_g1_15_01", "None", None, "", "15_01", "None"),
    ],
)
def test_names_are_understood(stem, method, snr_db, noise, sentence_of, condition):
    name = parse_name(stem)
    assert name is not None
    assert (name.method, name.snr_db, name.noise, name.sentence, name.condition) == (
        method, snr_db, noise, sentence_of, condition,
    )  # fmt: skip


@pytest.mark.parametrize("stem", ["raw_data", "", "FCN_TMHINT_b2_22_06", "FCN_snr_white_TMHINT_b2_22_06", "b2_22_06"])
def test_other_names_are_not(stem):
    assert parse_name(stem) is None


def test_ratings_are_averaged_and_conditions_named(own):
    corpus = read(own)
    assert Counter(row.split for row in corpus.recordings) == {"train": 74, "val": 19, "test": 9}
    row = by_stem(corpus)["Noisy_snr-2_white_TMHINT_b2_21_01"]
    # Scores 2 and 3, and one empty cell.
    assert row.extra == {
        "speaker": "b2", "sentence": "21_01", "kind": "Noisy", "condition": "Noisy-SNR-2-white", "snr_db": "-2",
        "noise": "white", "quality": "2.5000", "ratings": "2", "labels_from": "",
    }  # fmt: skip
    assert not any(row.labels for row in corpus.recordings)
    assert note(corpus, "ratings without") == "raw_data.csv: left out 2 ratings without a quality and 0 not from 1 to 5"
    assert note(corpus, "train: 93") == f"{own}/TMHINTQI/train: 93 recordings, 12,937 are published"
    assert note(corpus, "left without") == "102 of 102 recordings are left without s_mos, n_mos and g_mos"
    assert not any(row.path.name.startswith(".") for row in corpus.recordings)


def test_what_is_not_as_published_is_told(own):
    train = own / "TMHINTQI" / "train"
    (train / "FCN_snr-2_white_TMHINT_b2_21_02.wav").unlink()
    write(train / "FCN_snr0_street_TMHINT_b2_22_03.wav", sentence("b2", "22_03"))
    write(train / "Noisy_snr0_white_TMHINT_g4_29_01.wav", sentence("g4", "29_01"))
    write(train / "my recording.wav", sentence("g4", "29_02"))
    shutil.copy(train / "clean_TMHINT_b2_21_01.wav", own / "TMHINTQI" / "test")
    ratings = own / "TMHINTQI" / "raw_data.csv"
    ratings.write_text(ratings.read_text().replace("KLT,21_01,5,street,4,", "KLT,21_01,5,street,7,"))
    corpus = read(own)
    assert "1, " not in note(corpus, "other recordings")
    assert note(corpus, "other recordings").endswith("train: 1 other recordings are left out, such as my recording.wav")
    assert note(corpus, "neither folder").endswith("such as FCN_snr-2_white_TMHINT_b2_21_02")
    assert note(corpus, "known to have no") == (
        "1 recordings are known to have no quality: FCN_snr0_street_TMHINT_b2_22_03"
    )
    assert note(corpus, "have no quality, such").endswith("such as Noisy_snr0_white_TMHINT_g4_29_01")
    assert note(corpus, "train and test").startswith("1 names are in train and test, such as clean_TMHINT_b2_21_01")
    assert by_stem(corpus)["clean_TMHINT_b2_21_01"].split == "test"
    assert note(corpus, "not from 1 to 5").endswith("and 2 not from 1 to 5")


def test_faulty_recordings_stop_it_all_at_once(own):
    train = own / "TMHINTQI" / "train"
    (train / "FCN_snr-2_white_TMHINT_b2_21_01.wav").write_bytes(b"")
    (train / "FCN_snr-2_white_TMHINT_b2_21_02.wav").write_bytes(b"<html>quota exceeded</html>")
    (train / "KLT_snr5_street_TMHINT_b2_21_01.wav").unlink()
    (train / "KLT_snr5_street_TMHINT_b2_21_01.wav").symlink_to("gone.wav")
    with pytest.raises(FaultyTableError) as caught:
        read(own)
    assert str(caught.value).startswith(
        f"{own}/TMHINTQI: 3 faults: {train}/FCN_snr-2_white_TMHINT_b2_21_01.wav: the fi"
    )


def test_validation_keeps_sentences_together_and_follows_the_seed(own):
    def split(**options: object) -> dict[str, set[str]]:
        rows = read(own, **options).recordings
        return {name: {row.extra["sentence"] for row in rows if row.split == name} for name in ("train", "val")}

    first = split()
    assert not first["train"] & first["val"]
    assert first["val"] & {"21_01", "22_06", "30_01"}, "one of the sentences with a clean recording"
    assert split() == first
    assert any(split(seed=seed) != first for seed in range(2, 5))
    by_file = split(validation_by="file")
    assert by_file["train"] & by_file["val"]
    rows = read(own, validation_by="file").recordings
    assert sum(row.split == "val" for row in rows) == 10  # a tenth of 37 and of 56, each rounded up


def test_labels_come_from_references_where_they_fit(own):
    train = own / "TMHINTQI" / "train"
    # A clean recording of the wrong sentence, and a noisy one whose level of noise is not that of its name.
    write(train / "clean_TMHINT_g4_24_03.wav", sentence("b2", "24_03"))
    shutil.copy(train / "Noisy_snr-2_white_TMHINT_b2_30_01.wav", train / "Noisy_snr5_white_TMHINT_b2_30_01.wav")
    corpus = read(own, labels="references", workers=1)
    rows = by_stem(corpus)
    noisy, enhanced = rows["Noisy_snr-2_white_TMHINT_b2_21_01"], rows["FCN_snr-2_white_TMHINT_b2_21_01"]
    assert noisy.labels["sdi"] == pytest.approx(1.5)  # 10^(2 / 10), at its limit
    assert 1 <= noisy.labels["n_mos"] < enhanced.labels["n_mos"] < rows["clean_TMHINT_b2_21_01"].labels["n_mos"]
    assert rows["clean_TMHINT_b2_21_01"].labels["pesq"] == pytest.approx(4.5)
    assert rows["TMHINT_b1_03_01"].labels["stoi"] == pytest.approx(1.0)
    assert rows["DDAE_snr2_pink_TMHINT_b2_21_01"].labels.keys() == {"pesq", "stoi", "sdi"}, "its noisy twin is missing"
    assert noisy.extra["labels_from"] == "references"
    assert rows["DDAE_snr2_pink_TMHINT_b2_21_01"].extra["labels_from"] == ""
    assert rows["Noisy_snr-2_white_TMHINT_g4_21_01"].labels == {}, "no clean twin"
    assert rows["Noisy_snr5_white_TMHINT_b2_30_01"].labels == {}
    assert rows["Noisy_snr-2_white_TMHINT_g4_24_03"].labels == {}
    assert note(corpus, "labelled against").startswith("labelled against references: 23 recordings, and 8 for PESQ")
    assert note(corpus, "twins are not used").startswith("5 twins are not used, such as DDAE_snr2_pink_TMHINT_g4_24_03")
    assert note(corpus, "left without") == "81 of 104 recordings are left without s_mos, n_mos and g_mos"


def test_labelling_goes_on_where_it_stopped(own, monkeypatch):
    train = own / "TMHINTQI" / "train"
    for path in train.glob("*_b1_*"):
        path.unlink()
    judged: list[str] = []

    def judge(job: reference_labels.ReferencePair) -> dict[str, object]:
        if len(judged) == 4:
            raise KeyboardInterrupt
        judged.append(job.stem)
        return {"labels": {"pesq": 2.0}, "problem": ""}

    monkeypatch.setattr(reference_labels, "label_pair", judge)
    for _ in range(20):
        try:
            corpus = read(own, labels="references", workers=1)
            break
        except KeyboardInterrupt:
            monkeypatch.setattr(reference_labels, "label_pair", judge)
            done, judged[:] = len(judged), []
            assert done == 4
    assert sum(row.labels == {"pesq": 2.0} for row in corpus.recordings) == 25
    judged.clear()
    assert read(own, labels="references", workers=1).recordings == corpus.recordings
    assert judged == []
    with (train / "TMHINT_g3_03_01.wav").open("ab") as stream:
        stream.write(b"\0" * 4)
    read(own, labels="references", workers=1)
    assert judged == ["TMHINT_g3_03_01"]


def test_labels_that_cannot_be_kept_are_used(own, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where the folder should be")
    monkeypatch.setattr(reference_labels, "label_pair", lambda _: {"labels": {"pesq": 2.0}, "problem": ""})
    corpus = read(own, labels="references", workers=1)
    assert note(corpus, "cannot keep").startswith(f"{tmp_path}/home/corpora/reference-labels.jsonl: cannot keep")
    assert sum(row.labels == {"pesq": 2.0} for row in corpus.recordings) == 30


def test_several_processes_label_as_one_does(own):
    clean = own / "TMHINTQI" / "train" / "clean_TMHINT_b2_21_01.wav"
    pairs = [reference_labels.ReferencePair(f"{at}", clean, clean, clean, None) for at in range(10)]
    assert len(pairs) > reference_labels.FEW_PAIRS
    labels, _ = reference_labels.label_from_references(pairs, 2, lambda _done, _total: None)
    assert labels == {pair.stem: reference_labels.label_pair(pairs[0])["labels"] for pair in pairs}
    assert labels["0"]["sdi"] == 0


def test_clean_references_of_the_owner_are_taken(own, tmp_path, monkeypatch):
    write(tmp_path / "clean" / "g4" / "TMHINT_g4_31_07.wav", sentence("g4", "31_07"))
    monkeypatch.setattr(reference_labels, "label_pair", lambda job: {"labels": {"sdi": 0.5}, "problem": job.stem})
    corpus = read(own, labels="references", clean_folder=tmp_path / "clean", workers=1)
    assert by_stem(corpus)["KLT_snr5_street_TMHINT_g4_31_07"].labels == {"sdi": 0.5}
    assert by_stem(corpus)["KLT_snr5_street_TMHINT_b2_31_07"].labels == {}
    for folder, message in ((tmp_path / "gone", "no such folder"), (tmp_path / "home", "no clean references")):
        with pytest.raises(InputError, match=message):
            read(own, labels="references", clean_folder=folder, workers=1)


@pytest.mark.parametrize(
    "text",
    [
        "file,s_mos,n_mos,g_mos\nFCN_snr-2_white_TMHINT_b2_21_01.wav,3.5,2.25,2.75\n",
        "\ufeffFile Name;S-MOS;N-MOS;G-MOS;remark\r\nFCN_snr-2_white_TMHINT_b2_21_01;3,5;2,25;2,75;x\r\n",
        "N-MOS LQO\t3QUEST G-MOS\tS\tPath\n2.25\t2.75\t3.5\tD:\\x\\FCN_snr-2_white_TMHINT_b2_21_01.WAV\n\n",
    ],
)
def test_scores_of_the_owner_are_taken_in_any_dress(own, tmp_path, text):
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    corpus = read(own, three_quest_scores=tmp_path / "scores.csv")
    row = by_stem(corpus)["FCN_snr-2_white_TMHINT_b2_21_01"]
    assert row.labels == {"s_mos": 3.5, "n_mos": 2.25, "g_mos": 2.75}
    assert row.extra["labels_from"] == "3quest"
    assert note(corpus, "3QUEST scores") == f"3QUEST scores: 1 recordings, from {tmp_path}/scores.csv"
    assert note(corpus, "left without").startswith("101 of 102")


def test_scores_and_references_are_not_mixed(own, tmp_path, monkeypatch):
    labels = {"s_mos": 1.0, "n_mos": 1.0, "g_mos": 1.0, "pesq": 2.0, "stoi": 0.5, "sdi": 0.25}
    monkeypatch.setattr(reference_labels, "label_pair", lambda _: {"labels": labels, "problem": ""})
    (tmp_path / "scores.csv").write_text("name,g_mos\nclean_TMHINT_b2_21_01,4.5\nother,3\n")
    rows = read(own, labels="references", three_quest_scores=tmp_path / "scores.csv", workers=1)
    assert by_stem(rows)["clean_TMHINT_b2_21_01"].labels == {"g_mos": 4.5, "pesq": 2.0, "stoi": 0.5, "sdi": 0.25}
    assert by_stem(rows)["clean_TMHINT_b2_22_06"].labels == {"pesq": 2.0, "stoi": 0.5, "sdi": 0.25}
    assert note(rows, "3QUEST").endswith("; 1 scores are of no recording here")
    (tmp_path / "list.txt").write_text("0.4,0.75,/data/train/clean_TMHINT_b2_22_06.wav\n")
    rows = read(own, labels="references", pesq_stoi_list=tmp_path / "list.txt", workers=1)
    assert by_stem(rows)["clean_TMHINT_b2_22_06"].labels == {**labels, "pesq": 1.8, "stoi": 0.75}
    assert by_stem(rows)["clean_TMHINT_b2_21_01"].labels.keys() == {"s_mos", "n_mos", "g_mos", "sdi"}


def test_faulty_scores_are_named_line_by_line(own, tmp_path):
    (tmp_path / "scores.csv").write_text(
        "file,smos,nmos\nclean_TMHINT_b2_21_01,6,x\n,3,3\nclean_TMHINT_b2_21_01,2,3\nclean_TMHINT_b2_22_06,nan,3\n"
    )
    with pytest.raises(FaultyTableError) as caught:
        read(own, three_quest_scores=tmp_path / "scores.csv")
    assert [str(fault) for fault in caught.value.faults] == [
        "line 2: n_mos 'x' is not a number from 1 to 5",
        "line 2: s_mos '6' is not a number from 1 to 5",
        "line 3: no file name",
        "line 4: 'clean_TMHINT_b2_21_01' has other scores above",
        "line 5: s_mos 'nan' is not a number from 1 to 5",
    ]
    (tmp_path / "list.txt").write_text("0.4,0.75\n1.2,0.5,clean_TMHINT_b2_21_01.wav\n")
    with pytest.raises(FaultyTableError, match=r"2 faults: line 1: '0\.4,0\.75' is not PESQ"):
        read(own, pesq_stoi_list=tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table of scores"),
        ("recording,mos\nx,3\n", r"needs a column file and any of s_mos, n_mos, g_mos; it begins with 'recording,mos'"),
        ("file,s_mos\nx.wav,3\n", "names no recording of the corpus; it has x, the corpus DDAE_"),
        (b"file,s_mos\n\xff,3\n", "not a text in UTF-8"),
        (None, "cannot read the table: No such file"),
    ],
)
def test_other_tables_are_no_scores(own, tmp_path, text, message):
    if text is not None:
        (tmp_path / "scores.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read(own, three_quest_scores=tmp_path / "scores.csv")


def test_quality_stands_in_for_g_only_when_asked(own, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_labels, "label_pair", lambda _: {"labels": {"g_mos": 1.0}, "problem": ""})
    corpus = read(own, labels="quality", workers=1)
    row = by_stem(corpus)["Noisy_snr-2_white_TMHINT_g4_21_01"]
    assert (row.labels, row.extra["labels_from"]) == ({"g_mos": 2.5}, "quality")
    assert "not that of P.835" in note(corpus, "overall quality")
    with pytest.raises(UsageError, match="not from both"):
        CorpusConfig(labels="quality", three_quest_scores=tmp_path)


@pytest.mark.parametrize("place", ["root", "above", "variable", "here", "home", "folder", "doubled"])
def test_data_are_found(own, tmp_path, monkeypatch, place):
    root: Path | None = None
    data: str | Path = "tmhint-qi"
    if place == "root":
        root = own / "TMHINTQI"
    elif place == "above":
        root = own
    elif place == "variable":
        monkeypatch.setenv("MTQSCORE_DATA", str(own))
    elif place == "here":
        monkeypatch.chdir(own)
    elif place == "home":
        (tmp_path / "home" / "corpora").mkdir(parents=True)
        (own / "TMHINTQI").rename(tmp_path / "home" / "corpora" / "TMHINT-QI")
    elif place == "folder":
        data = own / "TMHINTQI"
    else:
        (own / "TMHINT-QI").mkdir()
        (own / "TMHINTQI").rename(own / "TMHINT-QI" / "TMHINTQI")
        root = own
    if place == "here":
        own.rename(tmp_path / "data2")
        monkeypatch.chdir(tmp_path / "data2")
    assert len(read_corpus(data, CorpusConfig(data_root=root, labels="given")).recordings) == 102


@pytest.mark.parametrize("name", list(NAMED_CORPORA))
def test_absent_data_end_in_one_message_that_helps(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTQSCORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MTQSCORE_DATA", raising=False)
    for root in (None, tmp_path / "gone"):
        with pytest.raises(EnvironmentProblemError) as caught:
            read_corpus(name, CorpusConfig(data_root=root))
        said = str(caught.value)
        assert "\n" not in said
        for part in ("https://drive.google.com/file/d/", "unpack", "--data-root", "MTQSCORE_DATA", str(root or "this")):
            assert part in said


def test_the_challenge_test_is_freed_of_its_leakage(own):
    corpus = read(own, "tmhint-qi-s")
    rows = by_stem(corpus)
    test = {row.path.stem.partition("-")[2] for row in corpus.recordings if row.split == "test"}
    assert test == {
        "Noisy_snr-2_white_TMHINT_b2_21_01",
        "CMGAN_snr5_street_TMHINT_g4_32_03",
        "DEMUCS_snr0_babble_TMHINT_b2_25_04",
        "clean_TMHINT_g4_27_01",
    }
    assert "Noisy_snr-2_white_TMHINT_b2_21_01" not in rows
    assert note(corpus, "removed").endswith("test recording: 1, such as Noisy_snr-2_white_TMHINT_b2_21_01")
    assert note(corpus, "rehearsal").startswith("2 ")
    assert rows["VoiceMOS2023Track3-CMGAN_snr5_street_TMHINT_g4_32_03"].extra["quality"] == "4.0000"
    kinds = Counter(row.extra["kind"] for row in corpus.recordings if row.split != "test")
    assert kinds == {"Noisy": 19, "FCN": 20, "DDAE": 20, "clean": 3, "None": 10}
    assert "the challenge lists 11,053" in note(corpus, "train_avg_mos.csv")
    assert note(corpus, "48000 Hz") == "1 at 48000 Hz: resampled to 16000 Hz when they are read"


def test_the_challenge_trains_on_its_list(own):
    (own / "VOICEMOS2023_DISTRO").mkdir()
    (own / "VOICEMOS2023_DISTRO" / "train_avg_mos.csv").write_text(
        "uttID,avgMOS\nFCN_snr-2_white_TMHINT_g4_25_04,3.5\nNoisy_snr-2_white_TMHINT_b2_21_01,2\n"
        "DDAE_snr2_pink_TMHINT_b2_21_02,\nFCN_snr0_babble_TMHINT_g1_14_01,4\n"
    )
    corpus = read(own, "tmhint-qi-s")
    training = {row.path.stem: row.extra["quality"] for row in corpus.recordings if row.split != "test"}
    assert training == {"FCN_snr-2_white_TMHINT_g4_25_04": "3.5000", "DDAE_snr2_pink_TMHINT_b2_21_02": ""}
    assert note(corpus, "listed training") == (
        "1 listed training recordings are missing, such as FCN_snr0_babble_TMHINT_g1_14_01"
    )


def test_the_challenge_without_training_recordings_is_a_test_alone(own):
    shutil.rmtree(own / "TMHINTQI")
    corpus = read(own, "tmhint-qi-s")
    assert {row.split for row in corpus.recordings} == {"test"}
    assert note(corpus, "no training recordings").startswith("no training recordings: TMHINTQI is not in ")


def test_a_corpus_becomes_a_table_that_evaluate_takes(own, run, tmp_path, fake_model, monkeypatch):
    monkeypatch.setattr(reference_labels, "label_pair", lambda _: {"labels": {"pesq": 2.5}, "problem": ""})
    corpus = read(own, labels="quality", workers=1)
    write_label_table(tmp_path / "manifest.csv", corpus.recordings)
    assert read_label_table(tmp_path / "manifest.csv") == corpus.recordings
    done = run("evaluate", "manifest.csv", "--model", fake_model, "--split", "test", "--csv", "-")
    assert done.returncode == 0
    assert b"FCN-SNR-2-white" in done.stdout, "grouped by condition"
    assert soundfile.info(corpus.recordings[0].path).subtype == "FLOAT"


def test_tables_and_names_need_nothing_heavy(own):
    code = "from mtqscore.corpora.reading import read_corpus\nfrom mtqscore.corpora.corpus import CorpusConfig\n"
    code += "read_corpus('tmhint-qi', CorpusConfig(labels='given'))"
    assert not loaded_after(code, folder=own) & HEAVY
