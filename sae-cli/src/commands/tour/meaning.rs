//! Stage 2 of the workshop: how good the SAE is, what its features mean, and what they do.

use anyhow::{Result, bail};

use super::{Tour, defaults};
use crate::args::Command;
use crate::commands::{ablate, attribute, eval, pca, stats, steer};
use crate::show;

pub(super) fn find(tour: &mut Tour<'_>) -> Result<()> {
    tour.step(
        "How good is it?",
        "SAELens' metrics on the text that model and SAE were trained on. They say how much of the \
         activations the SAE holds, with how many features, and what the model loses when it reads the \
         reconstruction instead.",
    )?;
    let Command::Eval(args) = defaults(&["eval"])? else { bail!("no evaluation") };
    let found = eval::run(tour.stage, &args)?;
    show::line(eval::table(&found)?)?;
    let page = eval::figure(std::mem::take(&mut tour.page), &found)?;
    tour.draw(|_| page);

    tour.step(
        "What do features mean?",
        "One pass over the text finds how often each feature fires, and where most strongly. A feature \
         that fires on few tokens, and on the same ones again and again, is one that can be understood.",
    )?;
    let Command::Stats(args) = defaults(&["stats", "--top", "8", "--contexts", "3"])? else {
        bail!("no statistics")
    };
    let (found, prompts) = stats::collect(tour.stage, &args)?;
    let rows = stats::rows(tour.stage, &args, &found, &prompts)?;
    show::line(stats::table(&rows))?;
    tour.draw(|page| stats::figure(page, &found, &rows));

    tour.step(
        "What does a prediction depend on?",
        "Gradient times activation tells, to first order, what the answer's logit would lose without \
         each feature on each token. One backward pass finds it for all features at once.",
    )?;
    let Command::Attribute(args) = defaults(&["attribute"])? else { bail!("no attribution") };
    let found = attribute::run(tour.stage, &args)?;
    show::line(attribute::table(&found))?;
    tour.draw(|page| attribute::figure(page, &found));

    tour.step(
        "Ablation",
        "The strongest features on the last word are set to zero, one at a time and all together: what \
         the answer loses is what they did. With the error term the model still has whatever the SAE \
         does not see.",
    )?;
    let Command::Ablate(args) = defaults(&["ablate", "--top", "3"])? else { bail!("no ablation") };
    let outcomes = ablate::run(tour.stage, &args)?;
    show::line(ablate::table(&outcomes))?;
    tour.draw(|page| ablate::figure(page, &outcomes));

    tour.step(
        "Steering",
        "A feature's direction is added to the stream at every step, nearly as strongly as the feature fires \
         at most. The model then talks about what the feature stands for, here places and peoples, \
         whatever the prompt was.",
    )?;
    let Command::Steer(args) = defaults(&["steer", "--strength", "0.7"])? else {
        bail!("no steering")
    };
    let found = steer::run(tour.stage, &args)?;
    show::line(format!("plain:   {}\nsteered: {}", found.plain, found.steered))?;
    tour.draw(|page| steer::figure(page, &found));

    tour.step(
        "The shape that features span",
        "A few features together can hold a quantity that none holds alone, such as a place on a circle. \
         Principal components of what they write show the shape, and a point is a token.",
    )?;
    let Command::Pca(args) = defaults(&["pca"])? else { bail!("no components") };
    let found = pca::run(tour.stage, &args)?;
    show::line(pca::table(&found))?;
    tour.draw(|page| pca::figure(page, &found));
    Ok(())
}
