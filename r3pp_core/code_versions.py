"""The version of each stage's code: raise it when the same inputs give other bytes, and what the stage made is stale.

Together and apart from the stages, since the definitions name them all and should load none of the stages for it.
"""

DOWNLOAD = "2"
OCR = "2"
UNIFY = "2"
MERGE = "2"
MODELS = "2"
INDEX = "3"
NEIGHBOURS = "2"
QUALITY = "2"
TRAINING = "5"
EXPORT = "3"
EVALUATION = "8"
REPORT = "6"
CHAMPION = "4"
