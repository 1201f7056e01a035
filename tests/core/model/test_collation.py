"""What a batch tells the modules of its rows."""

from r3pp_core.model.collation import ocr_features


def test_what_ocr_tells_parts_a_page_that_was_read_from_one_that_was_not():
    whole, damaged, nothing = ocr_features(0.99, "x" * 250), ocr_features(0.8, "x" * 150), ocr_features(None, "")
    assert whole[0] - damaged[0] > 0.5
    assert (whole[1], nothing[1]) == (1.0, 0.0)
    assert whole[0] > 0 > damaged[0] > nothing[0]
    assert whole[2] > 0 > nothing[2]
    assert ocr_features(1.0, "x")[0] < 5
    assert ocr_features(0.0, "x")[0] > -7
