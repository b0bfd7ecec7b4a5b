"""One picture in, one answer out, without edgeproof's loop: for a program of your own.

    python classify.py pets.bundle cat.jpg

What firmware in another language has to do is the same three steps on the file that
`bundle.variant("tflite-int8")` names: resize to `bundle.preprocess`, give uint8 RGB, and read
(output - zero_point) * scale as probabilities in the order of `bundle.labels`.
"""

import sys

from edge_runtime import Bundle, Classifier, decode_image


def main(bundle_path: str, picture: str) -> None:
    bundle = Bundle.open(bundle_path)
    classifier = Classifier(bundle, threads=1)
    answer = classifier.classify(decode_image(picture))
    for label, probability in zip(bundle.labels, answer.probabilities, strict=True):
        print(f"{label}: {probability:.4f}")
    spec = classifier.engine.output
    print(
        f"{classifier.variant.file.path}: input {bundle.preprocess.input_shape} uint8 "
        f"{bundle.preprocess.channels}, output {spec.dtype}, "
        f"scale {spec.scale:g}, zero point {spec.zero_point}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
