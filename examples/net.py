"""A net with batch normalization in fifteen lines, on the handwritten digits of the package."""

import fastbn

x_train, y_train, x_test, y_test = fastbn.datasets.load_digits()

net = fastbn.Sequential(
    fastbn.Linear(64, 128, bias=False, rng=0),
    fastbn.BatchNorm1d(128),
    fastbn.ReLU(),
    fastbn.Linear(128, 10, rng=1),
)
optimizer = fastbn.SGD(net.parameters(), lr=0.1, momentum=0.9)
trainer = fastbn.Trainer(net, fastbn.CrossEntropyLoss(), optimizer, rng=2)
trainer.fit(x_train, y_train, epochs=10, batch_size=32)
print(f"test accuracy: {trainer.evaluate(x_test, y_test)['accuracy']:.3f}")
